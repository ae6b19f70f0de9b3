"""`muster.aio`: the same on an event loop, which goes on meanwhile; cancelling it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakenode import JOB, FakeNode
from scripted import ScriptedJob
from test_python_api import Noting, job, quick

import muster
from muster.errors import MusterError
from muster.node.api.snapshot import NodeEvent
from patience import patient_s

__all__ = ["job", "quick"]


async def every(rounds: AsyncIterator[muster.Round]) -> list[int]:
    return [r.number async for r in rounds]


def on_loop(main: Any) -> None:
    async def limited() -> None:
        async with asyncio.timeout(patient_s(20)):
            await main()

    asyncio.run(limited())


def test_rounds_come_until_the_job_ends(job: ScriptedJob) -> None:
    async def main() -> None:
        found = []
        async for r in muster.aio.follow(JOB, after=1):
            found.append(r.number)
            if len(job.rounds) < 6:
                job.do()
            else:
                job.finish()
        assert found == [2, 3, 4, 5, 6]

    on_loop(main)


def test_callbacks_and_events_are_told(job: ScriptedJob, alpha: FakeNode) -> None:
    async def main() -> None:
        alpha.events = [NodeEvent(8, 0.0, "job", "starts the trainer")]
        told: list[NodeEvent] = []
        noting = Noting(lambda r: r.number == 2)
        result = await muster.aio.train("digits", rounds=3, callbacks=[noting], on_event=told.append)
        assert noting.notes == [("begin", "digits"), 1, 2, 3, ("end", 3)]
        assert result.metrics["accuracy"] == 0.934
        assert [r["op"] for r in alpha.requests].count("stop") == 1
        asked = next(r for r in alpha.requests if r["op"] == "train")
        assert (asked["task"], asked["rounds"]) == ("digits", 3)

    on_loop(main)


def test_what_was_logged_before_the_end_is_passed_on(job: ScriptedJob, alpha: FakeNode) -> None:
    async def main() -> None:
        job.finish()
        alpha.events = [NodeEvent(8, 0.0, "end", "done", JOB), NodeEvent(9, 0.0, "end", "other", "77" * 32)]
        seen: list[NodeEvent] = []
        await muster.aio.train("digits", on_event=seen.append)
        assert seen == alpha.events[:1]

    on_loop(main)


def test_errors_come_out(job: ScriptedJob, alpha: FakeNode) -> None:
    async def main() -> None:
        alpha.answers["train"] = ("unknown_task", "there is no task 'x' on this node")
        with pytest.raises(MusterError, match="no task 'x'"):
            await muster.aio.train("x")
        job.state = "failed"
        with pytest.raises(MusterError, match="the trainer died"):
            await every(muster.aio.follow(JOB))

    on_loop(main)


def test_what_a_listener_raises_comes_out(job: ScriptedJob, alpha: FakeNode) -> None:
    def broken(event: NodeEvent) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        alpha.events = [NodeEvent(8, 0.0, "commit", "round 1", JOB)]
        with pytest.raises(ZeroDivisionError):
            await muster.aio.train("digits", on_event=broken)

    on_loop(main)


def test_it_may_be_cancelled(job: ScriptedJob, alpha: FakeNode) -> None:
    async def main() -> None:
        told = asyncio.Event()

        def at_round(r: muster.Round) -> None:
            if r.number == 3:
                told.set()

        task = asyncio.create_task(muster.aio.train("digits", callbacks=[Noting(at_round)]))
        await told.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1  # nothing is left
        assert "stop" not in [r["op"] for r in alpha.requests]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(every(muster.aio.follow(JOB)), 0.05)

    on_loop(main)


def test_a_reader_may_leave(job: ScriptedJob) -> None:
    async def main() -> None:
        rounds = muster.aio.follow(JOB)
        async for r in rounds:
            if r.number == 2:
                break
        await rounds.aclose()
        assert len(asyncio.all_tasks()) == 1

    on_loop(main)


def test_a_node_that_dies_and_comes_back(job: ScriptedJob, alpha: FakeNode) -> None:
    async def main() -> None:
        rounds = muster.aio.follow(JOB)
        assert [(await anext(rounds)).number for _ in range(3)] == [1, 2, 3]
        await asyncio.to_thread(alpha.__exit__)
        coming = asyncio.ensure_future(anext(rounds))
        assert not (await asyncio.wait({coming}, timeout=0.05))[0]
        job.do()
        await asyncio.to_thread(alpha.__enter__)
        assert (await coming).number == 4
        job.finish()
        with pytest.raises(StopAsyncIteration):
            await anext(rounds)

    on_loop(main)


def test_a_node_that_stays_away_is_given_up(job: ScriptedJob, alpha: FakeNode) -> None:
    async def main() -> None:
        rounds = muster.aio.follow(JOB, away_s=0.05)
        assert (await anext(rounds)).number == 1
        await asyncio.to_thread(alpha.__exit__)
        with pytest.raises(MusterError) as caught:
            await every(rounds)
        assert caught.value.code == "no_node"
        await asyncio.to_thread(alpha.__enter__)

    on_loop(main)
