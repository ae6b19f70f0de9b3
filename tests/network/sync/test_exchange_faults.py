"""The exchange goes on after faults: of its disk, of one record, of the asking loop."""

from __future__ import annotations

import asyncio

import pytest
from exchange_line import Node, with_line

from muster.network.sync.record_sync import RecordSync
from muster.simulation.virtual.network import SimNetwork
from muster.simulation.virtual.pipe import PathParams
from muster.storage.store import StorageError

LAN = PathParams()


def quiet(traces: list[BaseException]) -> None:
    """Traces are what is expected here."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: traces.append(context["exception"]))


def test_a_disk_that_heals_is_announced_from_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proven in review 5.8: one StorageError while announcing, and the neighbour heard nothing for ever."""

    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        a, b = nodes
        await asyncio.sleep(5)
        ill = True
        last = a.store.last_sequence

        def failing() -> int:
            if ill:
                raise StorageError("the disk cannot be read: check it")
            return last()

        monkeypatch.setattr(a.store, "last_sequence", failing)
        a.publish("while it is ill")
        await asyncio.sleep(30)
        ill = False
        await asyncio.sleep(30)
        a.publish("when it is well")
        await asyncio.sleep(10)
        assert b.heard() >= {"while it is ill", "when it is well"}
        heard_s = b.presence.age_s(a.identity.node)
        assert heard_s is not None
        assert heard_s <= 10

    with_line(scene, LAN, "ab")


def test_a_record_that_cannot_be_shortened_goes_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    traces: list[BaseException] = []

    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        quiet(traces)
        a, b = nodes
        await asyncio.sleep(5)
        compressor = a.exchange.shared.compressor
        real, bad = compressor.compress, []

        def compress(record_id: bytes, wire: bytes) -> bytes:
            if b"poison" in wire:
                bad.append(record_id)
                raise OverflowError("can't serialize ints over 2**64 - 1")
            return real(record_id, wire)

        monkeypatch.setattr(compressor, "compress", compress)
        a.publish("poison")
        a.publish("good")
        await asyncio.sleep(10)
        assert bad
        assert b.heard() >= {"poison", "good"}
        await asyncio.sleep(120)
        a.publish("later")
        await asyncio.sleep(10)
        assert "later" in b.heard()

    with_line(scene, LAN, "ab")


def test_the_loop_that_asks_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    traces: list[BaseException] = []
    real, failed = RecordSync._compare, []

    async def fails_once(self: RecordSync, *arguments: object) -> None:
        if not failed:
            failed.append(1)
            raise ZeroDivisionError("a fault in the loop")
        await real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RecordSync, "_compare", fails_once)

    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        quiet(traces)
        a, b = nodes
        a.publish("of a")
        b.publish("of b")
        await asyncio.sleep(10)
        assert failed
        assert a.heard() == b.heard() == {"of a", "of b"}

    with_line(scene, LAN, "ab")
    assert [type(error) for error in traces] == [ZeroDivisionError]
