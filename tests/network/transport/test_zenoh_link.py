"""What crosses a real link: questions, answers and nudges."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from zenoh_pair import SECONDS_MAX, e2e, echo, pair, until

from muster.network.transport.link import Refused, Unreachable, Urgency
from muster.network.transport.zenoh.link import ZenohLink
from muster.network.transport.zenoh.messages import ANSWER_BYTES_MAX, NUDGE_BYTES_MAX, REFUSAL_BYTES_MAX
from muster.network.transport.zenoh.server import SERVED_MAX
from muster.network.transport.zenoh.threads import QUEUE_ITEMS_MAX
from muster.network.trust.identity import Identity
from muster.protocol.ids import NodeId


@e2e
async def test_an_ask_is_answered_by_the_right_handler(members: dict[str, Identity]) -> None:
    async with pair(members) as (alpha, bravo):
        alpha.serve("echo", echo)
        for urgency in Urgency:
            answer = await bravo.ask(alpha.node, "echo", b"hello", timeout_s=SECONDS_MAX, urgency=urgency)
            assert answer == bravo.node[:4] + b"hello"
        assert bravo.traffic(alpha.node) == (10, 18)
        assert alpha.traffic(bravo.node) == (18, 10)
        assert bravo.last_heard(alpha.node) is not None


@e2e
async def test_refusals_and_faults_come_back_as_refusals(members: dict[str, Identity]) -> None:
    async def no(node: NodeId, payload: bytes) -> bytes:
        raise Refused("not on battery")

    async def broken(node: NodeId, payload: bytes) -> bytes:
        raise ZeroDivisionError

    async def huge(node: NodeId, payload: bytes) -> bytes:
        return bytes(ANSWER_BYTES_MAX + 1)

    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    async with pair(members) as (alpha, bravo):
        for topic, handler in {"no": no, "broken": broken, "huge": huge}.items():
            alpha.serve(topic, handler)
        cases = {"no": "battery", "broken": "failed", "huge": "too long", "unheard-of": "serves no"}
        for topic, reason in cases.items():
            with pytest.raises(Refused, match=reason):
                await bravo.ask(alpha.node, topic, b"", timeout_s=SECONDS_MAX)
    assert [type(fault["exception"]) for fault in faults] == [ZeroDivisionError]


@e2e
async def test_a_slow_answer_holds_up_no_other(members: dict[str, Identity]) -> None:
    gate = asyncio.Event()

    async def slow(node: NodeId, payload: bytes) -> bytes:
        await gate.wait()
        return b"at last"

    async with pair(members) as (alpha, bravo):
        alpha.serve("slow", slow)
        alpha.serve("echo", echo)
        waiting = asyncio.ensure_future(bravo.ask(alpha.node, "slow", b"", timeout_s=SECONDS_MAX))
        await bravo.ask(alpha.node, "echo", b"", timeout_s=SECONDS_MAX)
        assert not waiting.done()
        with pytest.raises(Unreachable, match="did not answer"):
            await bravo.ask(alpha.node, "slow", b"", timeout_s=0.05)
        assert bravo.last_unanswered(alpha.node) is not None
        gate.set()
        assert await waiting == b"at last"


@e2e
async def test_too_many_asks_at_once_are_refused_not_queued(members: dict[str, Identity]) -> None:
    gate = asyncio.Event()

    async def slow(node: NodeId, payload: bytes) -> bytes:
        await gate.wait()
        return b""

    async with pair(members) as (alpha, bravo):
        alpha.serve("slow", slow)
        asks = [
            asyncio.ensure_future(bravo.ask(alpha.node, "slow", b"", timeout_s=SECONDS_MAX))
            for _ in range(SERVED_MAX + 1)
        ]
        done, _ = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(Refused, match="busy"):
            done.pop().result()
        gate.set()
        results = await asyncio.gather(*asks, return_exceptions=True)
        assert sum(result == b"" for result in results) == SERVED_MAX


@e2e
async def test_large_answers_arrive_whole(members: dict[str, Identity]) -> None:
    async def serve(node: NodeId, payload: bytes) -> bytes:
        return payload * 16384

    async with pair(members) as (alpha, bravo):
        alpha.serve("chunk", serve)
        asked = [bytes((number,)) for number in range(40)]
        answers = await asyncio.gather(
            *(
                bravo.ask(alpha.node, "chunk", one, timeout_s=SECONDS_MAX, urgency=Urgency.BULK)
                for one in asked
            )
        )
        assert answers == [one * 16384 for one in asked]


@e2e
async def test_nudges_arrive_with_their_sender(members: dict[str, Identity]) -> None:
    heard: list[tuple[NodeId, bytes]] = []
    async with pair(members) as (alpha, bravo):
        alpha.listen("topic", lambda node, payload: heard.append((node, payload)))
        bravo.nudge(alpha.node, "topic", b"thump")
        bravo.nudge(alpha.node, "topic", bytes(NUDGE_BYTES_MAX + 1))  # too long: lost
        bravo.nudge(members["carol"].node, "topic", b"nobody there")
        await until(lambda: heard)
        bravo.nudge(alpha.node, "topic", b"again")
        await until(lambda: len(heard) == 2)
    assert heard == [(members["bravo"].node, b"thump"), (members["bravo"].node, b"again")]


@e2e
async def test_a_nudge_over_one_batch_arrives_whole(members: dict[str, Identity]) -> None:
    heard: list[bytes] = []
    async with pair(members) as (alpha, bravo):
        alpha.listen("record", lambda node, payload: heard.append(payload))
        payload = bytes(range(250)) * 20  # 5 kB, three batches
        bravo.nudge(alpha.node, "record", payload)
        await until(lambda: heard)
        assert heard == [payload]


@e2e
async def test_nudges_beyond_the_queue_are_lost_and_nothing_else(members: dict[str, Identity]) -> None:
    heard: list[bytes] = []
    async with pair(members) as (alpha, bravo):
        alpha.serve("echo", echo)
        alpha.listen("record", lambda node, payload: heard.append(payload))
        peer = bravo._peers.get(alpha.node)
        gate = threading.Event()
        assert peer is not None
        assert peer.senders[Urgency.CONTROL].put(lambda: (gate.wait(10), None)[1])
        for number in range(QUEUE_ITEMS_MAX + 50):
            bravo.nudge(alpha.node, "record", bytes((number % 256,)) * 5000)
        assert bravo.traffic(alpha.node)[0] <= (QUEUE_ITEMS_MAX + 1) * 5000  # the rest is not even queued
        gate.set()
        assert await _ask_until_taken(bravo, alpha.node) == bravo.node[:4] + b"still there"
        await until(lambda: heard)
        assert len(heard) <= QUEUE_ITEMS_MAX + 1
        assert all(len(one) == 5000 and len(set(one)) == 1 for one in heard)


async def _ask_until_taken(link: ZenohLink, node: NodeId) -> bytes:
    while True:
        try:
            return await link.ask(node, "echo", b"still there", timeout_s=SECONDS_MAX)
        except Refused:  # the queue is still full
            await asyncio.sleep(0.002)


@e2e
async def test_a_long_refusal_is_cut_short(members: dict[str, Identity]) -> None:
    async def no(node: NodeId, payload: bytes) -> bytes:
        raise Refused("x" * 5000)

    async with pair(members) as (alpha, bravo):
        alpha.serve("no", no)
        with pytest.raises(Refused) as caught:
            await bravo.ask(alpha.node, "no", b"", timeout_s=SECONDS_MAX)
        assert len(str(caught.value)) == REFUSAL_BYTES_MAX
