"""Threads between the engine and the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from muster.network.transport.zenoh.threads import QUEUE_ITEMS_MAX, SenderThread, call_limited
from patience import patient_s


def test_a_sender_keeps_order_and_is_bounded() -> None:
    sender, gate, ran = SenderThread("test"), threading.Event(), []
    done = threading.Event()
    assert sender.put(lambda: bool(gate.wait(10)) or None)  # type: ignore[arg-type, return-value]
    taken = 0
    while taken < QUEUE_ITEMS_MAX + 1 and sender.put(lambda number=taken: ran.append(number)):  # type: ignore[misc]
        taken += 1
    assert QUEUE_ITEMS_MAX - 1 <= taken <= QUEUE_ITEMS_MAX
    gate.set()
    while not sender.put(done.set):
        pass
    assert done.wait(patient_s(10))
    assert ran == list(range(taken))
    sender.close()
    assert not sender.put(done.set)


def test_a_call_that_blocks_is_given_up_and_its_late_result_closed() -> None:
    gate, closed = threading.Event(), threading.Event()

    def block() -> str:
        gate.wait(10)
        return "late"

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await call_limited(block, 0.01, late=lambda result: closed.set())
        gate.set()
        assert await asyncio.to_thread(closed.wait, 10)

    asyncio.run(main())


def test_a_calls_error_reaches_the_caller() -> None:
    def fail() -> None:
        raise ValueError("so")

    with pytest.raises(ValueError, match="so"):
        asyncio.run(call_limited(fail, 10))


def test_a_send_that_raises_does_not_end_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until now the queue filled up, and the neighbour was never sent anything again."""
    traces: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: traces.append(args.exc_type.__name__))
    sender = SenderThread("muster-test")
    sent = threading.Event()

    def fails() -> None:
        raise RuntimeError("the engine is in a state that it should not be in")

    assert sender.put(fails)
    assert sender.put(sent.set)
    assert sent.wait(patient_s(10))
    assert traces == ["RuntimeError"]
    sender.close()
