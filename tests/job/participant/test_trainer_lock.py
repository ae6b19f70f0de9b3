from __future__ import annotations

import asyncio

import pytest

from muster.job.participant.shared_trainer import TrainerLock
from muster.simulation.virtual.event_loop import run


def test_background_work_gives_way_and_others_wait_in_line() -> None:
    async def main() -> None:
        lock, done = TrainerLock(), []

        async def work(name: str, for_s: float) -> str:
            try:
                await asyncio.sleep(for_s)
            except asyncio.CancelledError:
                done.append(f"{name} ends")
                await asyncio.sleep(0.5)  # a child finishes its batch first
                raise
            done.append(name)
            return name

        async def due(name: str) -> None:
            async with lock.exclusive():
                await work(name, 1.0)

        assert lock.free
        background = asyncio.create_task(lock.background(lambda: work("background", 10.0)))
        await asyncio.sleep(1.0)
        assert not lock.free
        await asyncio.gather(due("a"), due("b"))
        assert await background is None
        assert done == ["background ends", "a", "b"]
        assert asyncio.get_running_loop().time() == pytest.approx(1.0 + 0.5 + 2.0)
        assert await lock.background(lambda: work("again", 1.0)) == "again"
        assert lock.free

    run(main())


def test_background_work_waits_for_the_lock_and_its_faults_are_its_callers() -> None:
    async def main() -> None:
        lock = TrainerLock()

        async def fail() -> None:
            raise ValueError("no such luck")

        async with lock.exclusive():
            waiting = asyncio.create_task(lock.background(fail))
            await asyncio.sleep(1.0)
            assert not waiting.done()
        with pytest.raises(ValueError, match="luck"):
            await waiting
        assert lock.free

    run(main())


def test_a_cancelled_caller_leaves_the_lock_free() -> None:
    async def main() -> None:
        lock = TrainerLock()

        async def work() -> None:
            try:
                await asyncio.sleep(10)
            finally:
                await asyncio.sleep(0.5)

        task = asyncio.create_task(lock.background(work))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert lock.free
        assert asyncio.get_running_loop().time() == pytest.approx(1.5)

    run(main())
