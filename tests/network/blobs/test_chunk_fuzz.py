"""Whatever a neighbour asks or answers about chunks, only the documented errors come of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from bulk_world import FAST, World, ident
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.network.blobs.chunk_messages import (
    BLOB_BYTES_MAX,
    Ask,
    Status,
    decode_answer,
    decode_ask,
    encode_answer,
    encode_ask,
)
from muster.network.transport.link import Refused
from muster.simulation.virtual.event_loop import VirtualLoop
from muster.simulation.virtual.network import SimNetwork

DATA = bytes(range(256)) * 400
BLOB = hashlib.sha256(DATA).digest()
DEEP = b"\x91" * 60_000 + b"\xc0"
numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-2, 200_000),
    st.sampled_from([BLOB_BYTES_MAX, BLOB_BYTES_MAX + 1, len(DATA), len(DATA) + 1]),
)
names = st.one_of(
    st.sampled_from([BLOB, BLOB[:8], bytes(32), bytes(8)]), st.binary(min_size=32, max_size=32), st.binary()
)
asks = st.builds(
    Ask, names, numbers, numbers, numbers, st.booleans(), st.lists(st.binary(max_size=9)).map(tuple)
)
junk = st.one_of(st.binary(max_size=100), st.just(DEEP))


class Pair:
    """`a` holds a blob and wants another one, which `b` announces."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        import random

        rng = random.Random(1)
        self.world = World(SimNetwork(rng), rng)
        self.world.network.connect(ident("a"), ident("b"), FAST)
        self.a, self.b = await self.world.add("a"), await self.world.add("b")
        self.a.store.put_blob(DATA)
        await asyncio.sleep(5.0)

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        async def end() -> None:
            for node in (self.a, self.b):
                await node.transfers.close()
                await node.link.close()

        self.run(end())
        faults = self.loop.faults
        asyncio.set_event_loop(None)
        self.loop.close()
        assert not faults


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    found = Pair()
    yield found
    found.close()


@given(st.one_of(junk, asks.map(msgspec.msgpack.encode)))
def test_messages_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode_ask(data)
    with contextlib.suppress(ValueError):
        decode_answer(data)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.one_of(junk, asks.map(msgspec.msgpack.encode)))
def test_questions_are_answered_or_refused(pair: Pair, payload: bytes) -> None:
    with contextlib.suppress(Refused):
        assert len(pair.run(pair.a.transfers._serve(pair.b.id, payload))) <= 64 * 1024


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(junk, st.binary(min_size=3, max_size=5000)), min_size=1, max_size=5), numbers)
def test_answers_and_nudges_do_no_harm(pair: Pair, replies: list[bytes], size: int) -> None:
    wanted = hashlib.sha256(b"".join(replies)).digest()
    link: Any = pair.b.link
    kept, left = link._handlers["chunk"], list(replies)

    async def say(node: bytes, question: bytes) -> bytes:
        return left.pop() if left else encode_answer(4)  # type: ignore[arg-type]

    async def scene() -> None:
        link._handlers["chunk"] = say
        fetching = asyncio.ensure_future(pair.a.transfers.fetch(wanted, size))
        for reply in replies:
            pair.b.link.nudge(pair.a.id, "chunk", reply[:40])
        await asyncio.sleep(5.0)
        fetching.cancel()
        with contextlib.suppress(asyncio.CancelledError, ValueError):
            await fetching
        link._handlers["chunk"] = kept
        pair.a.store.delete_blob(wanted)

    if size <= 10_000_000:
        pair.run(scene())


def test_announcements_of_sixteen_gigabytes_take_bounded_memory(pair: Pair) -> None:
    """Each is a map of 4 MB: all that is relayed together may have so much, not each."""
    tracemalloc.start()
    link: Any = pair.b.link

    async def scene() -> None:
        third = await pair.world.add("c")  # somebody who could be asked
        pair.world.network.connect(pair.a.id, third.id, FAST)
        await asyncio.sleep(5.0)
        asking = []
        for number in range(64):
            ask = Ask(bytes([number]) * 32, 0, 4096, BLOB_BYTES_MAX, True, (link.node[:8],))
            asking.append(asyncio.ensure_future(pair.a.transfers._serve(link.node, encode_ask(ask))))
        await asyncio.gather(*asking, return_exceptions=True)
        assert sum(s.size_bytes for s in pair.a.transfers.statuses()) <= BLOB_BYTES_MAX
        await third.transfers.close()
        await third.link.close()

    pair.a.store.partial = lambda blob, size: FakePartial(size)  # type: ignore
    pair.run(scene())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000


class FakePartial:
    """A blob of which nothing comes; like the one on disk it keeps a map and no data."""

    def __init__(self, size_bytes: int) -> None:
        from muster.storage.cells import Cells

        self.size_bytes = size_bytes
        cells = Cells(size_bytes)
        self.has, self.missing = cells.has, cells.missing


def test_a_question_of_a_later_version_is_read() -> None:
    ask = Ask(bytes(32), 0, 4096, 9000, True, (b"n" * 8,))
    raw = msgspec.msgpack.decode(encode_ask(ask))
    assert decode_ask(msgspec.msgpack.encode([*raw, "new", [1]])) == ask


def test_a_status_of_a_later_version_is_a_no() -> None:
    answer = decode_answer(bytes((200, 0, 0)) + b"data")
    assert (answer.status, answer.data) == (Status.NO, b"data")
