from __future__ import annotations

import asyncio

import pytest

from muster.simulation.virtual.event_loop import Deadlock, OutOfTime, Standstill, run


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_day_passes_at_once() -> None:
    async def main() -> tuple[float, str]:
        async with asyncio.timeout(1e6):
            await asyncio.sleep(86400)
        return now(), "done"

    assert run(main()) == (86400.0, "done")


def test_events_come_in_order_of_time() -> None:
    seen: list[tuple[float, str]] = []

    async def walker(name: str, step_s: float, steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(step_s)
            seen.append((now(), name))

    async def main() -> None:
        await asyncio.gather(walker("a", 1.0, 3), walker("b", 0.75, 3))

    run(main())
    assert seen == [(0.75, "b"), (1.0, "a"), (1.5, "b"), (2.0, "a"), (2.25, "b"), (3.0, "a")]


def test_a_deadlock_is_noticed() -> None:
    async def main() -> None:
        await asyncio.sleep(3)
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"after 3\.000 s"):
        run(main())


def test_turning_in_place_is_noticed() -> None:
    async def main() -> None:
        await asyncio.sleep(3)
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Standstill, match=r"at 3\.000 s"):
        run(main())


def test_time_runs_out() -> None:
    ended: list[float] = []

    async def main() -> None:
        try:
            while True:
                await asyncio.sleep(7)
        finally:
            ended.append(now())

    with pytest.raises(OutOfTime):
        run(main(), until_s=100)
    assert ended == [100.0]


def test_left_tasks_are_ended_even_if_they_take_time() -> None:
    ended: list[float] = []

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)
            ended.append(now())

    async def main() -> None:
        task = asyncio.create_task(slow_to_end())
        await asyncio.sleep(1)
        assert not task.done()

    run(main())
    assert ended == [6.0]


def test_what_main_raises_comes_out() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(main())


def test_an_unseen_exception_comes_out() -> None:
    def fail() -> None:
        raise ValueError("unseen")

    async def main() -> None:
        asyncio.get_running_loop().call_later(1, fail)
        await asyncio.sleep(2)

    with pytest.raises(ValueError, match="unseen"):
        run(main())


def test_threads_are_replaced_by_calls_in_place() -> None:
    async def main() -> int:
        return await asyncio.to_thread(sum, [1, 2, 3])

    assert run(main()) == 6


def test_cancelled_timers_do_not_move_the_clock() -> None:
    async def main() -> float:
        asyncio.get_running_loop().call_later(50, print).cancel()
        asyncio.get_running_loop().call_soon_threadsafe(lambda: None)
        await asyncio.sleep(1)
        return now()

    assert run(main()) == 1.0
