"""A fetch goes on after faults of this node's own code: in a request, in a look."""

from __future__ import annotations

import asyncio

import pytest
from bulk_world import FAST, World, data_of, play

from muster.network.blobs.fetch.fetching import Fetching


@pytest.mark.parametrize("where", ["on_answer", "on_sent", "on_time"])
def test_a_fetch_goes_on_after_a_fault(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until now the range of a request that ended by a fault was never asked for again."""
    real, calls = getattr(Fetching, where), []

    def fails_twice(self: Fetching, *arguments: object) -> object:
        calls.append(1)
        if len(calls) in (1, 3):
            raise ZeroDivisionError("a fault in the code")
        return real(self, *arguments)

    monkeypatch.setattr(Fetching, where, fails_twice)

    async def scene(world: World) -> None:
        traces: list[BaseException] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: traces.append(context["exception"]))
        blob, data = data_of(300_000)
        b, fetch = world.fetching(data)
        if where == "on_time":
            await asyncio.sleep(0.1)
            b.transfers._look_again(b.transfers._fetching.table.all()[0])
        async with asyncio.timeout(120):
            await fetch
        assert b.store.has_blob(blob)
        assert len(traces) <= 1  # once for a kind of fault
        assert len(calls) >= (1 if where == "on_time" else 4)

    play("a-b", FAST, scene)
