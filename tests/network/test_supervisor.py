"""Loops that fail come back, are said, and are seen when they hang; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from muster.network.supervisor import (
    FAULTS_MANY,
    FAULTS_PERIOD_S,
    LATE_S,
    PAUSE_MANY_S,
    PAUSE_MAX_S,
    Pulse,
    Supervisor,
    pause_s,
)
from muster.simulation.virtual.event_loop import run
from muster.storage.store import StorageError


class Scene:
    """A supervisor, what it said, and which traces it gave."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.traces: list[str] = []
        self.supervisor = Supervisor(lambda sentence, job: self.said.append(sentence))

    def play(self, main: Callable[[], Awaitable[None]]) -> None:
        async def traced() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: self.traces.append(repr(context["exception"])))
            await main()
            await self.supervisor.close()

        run(traced(), until_s=1e6)


def test_a_loop_that_fails_starts_again_and_says_so() -> None:
    scene, began = Scene(), []

    async def work(pulse: Pulse) -> None:
        began.append(asyncio.get_running_loop().time())
        if len(began) < 4:
            raise ValueError("no\nuse")
        await asyncio.sleep(1000)

    async def main() -> None:
        loop = scene.supervisor.keep("the loop", work)
        await asyncio.sleep(2)
        assert [h.state for h in scene.supervisor.health()] == ["restarting"]
        await asyncio.sleep(8)
        [health] = scene.supervisor.health()
        assert (health.state, health.faults, health.why) == ("well", 3, "ValueError: no use")
        assert health.sentence() == "the loop: well, 3 faults in ten minutes, the last: ValueError: no use"
        await asyncio.sleep(FAULTS_PERIOD_S)
        assert scene.supervisor.health()[0].well()
        assert loop.task is not None
        assert not loop.task.done()

    scene.play(main)
    assert began == [0, 1, 3, 7]
    assert scene.said == [
        f"the loop failed and starts again in {s} s: ValueError: no use" for s in ("1", "2", "4")
    ]
    assert len(scene.traces) == 1  # of the same fault


def test_many_faults_change_the_pause_only() -> None:
    scene = Scene()
    assert [pause_s(n) for n in (1, 2, 7, FAULTS_MANY)] == [1, 2, PAUSE_MAX_S, PAUSE_MAX_S]
    assert pause_s(FAULTS_MANY + 1) == PAUSE_MANY_S

    async def work(pulse: Pulse) -> None:
        raise KeyError("x")

    async def main() -> None:
        scene.supervisor.keep("the loop", work)
        await asyncio.sleep(86400)

    scene.play(main)
    assert len(scene.said) > 86400 / PAUSE_MANY_S / 2


def test_what_is_expected_of_a_disk_needs_no_trace() -> None:
    scene = Scene()

    async def work(pulse: Pulse) -> None:
        raise StorageError("the disk is full: free some space")

    async def main() -> None:
        scene.supervisor.keep("the loop", work)
        await asyncio.sleep(0.5)

    scene.play(main)
    assert scene.said == ["the loop failed and starts again in 1 s: the disk is full: free some space"]
    assert scene.traces == []


def test_a_stray_cancellation_does_not_end_a_loop() -> None:
    scene, rounds = Scene(), []

    async def work(pulse: Pulse) -> None:
        rounds.append(1)
        if len(rounds) == 1:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        await asyncio.sleep(1000)

    async def main() -> None:
        loop = scene.supervisor.keep("the loop", work)
        await asyncio.sleep(10)
        assert len(rounds) == 2
        loop.cancel()
        await asyncio.sleep(10)
        assert scene.supervisor.health() == []

    scene.play(main)


def test_a_loop_that_hangs_is_late() -> None:
    scene = Scene()

    async def work(pulse: Pulse) -> None:
        pulse.renew(5)
        await asyncio.sleep(1000)

    async def waits(pulse: Pulse) -> None:
        pulse.renew(None)
        await asyncio.sleep(1000)

    async def main() -> None:
        scene.supervisor.keep("hangs", work)
        scene.supervisor.keep("waits for news", waits)
        await asyncio.sleep(5 + LATE_S)
        assert [h.state for h in scene.supervisor.health()] == ["well", "well"]
        await asyncio.sleep(1)
        assert [h.state for h in scene.supervisor.health()] == ["late", "well"]
        assert scene.supervisor.health()[0].period_s == 5

    scene.play(main)


@pytest.mark.parametrize("ending", [False, True])
def test_a_piece_of_work_clears_up_after_a_fault(ending: bool) -> None:
    scene, cleared = Scene(), []

    async def work() -> None:
        raise ValueError("no use")

    async def main() -> None:
        if ending:
            scene.supervisor.ending()
        scene.supervisor.once("the work", work(), on_fault=lambda: cleared.append(1))
        await asyncio.sleep(1)

    scene.play(main)
    assert scene.said == ([] if ending else ["the work failed: ValueError: no use"])
    assert cleared == ([] if ending else [1])


def test_what_is_tried_all_the_time_is_said_once() -> None:
    scene = Scene()

    async def main() -> None:
        for text in ("one", "one", "two", "one"):
            scene.supervisor.fault("showing a job", ValueError(text), first_only=True)
        scene.supervisor.fault("showing a job", ValueError("one"))

    scene.play(main)
    assert scene.said == [f"showing a job failed: ValueError: {text}" for text in ("one", "two", "one")]
    assert len(scene.traces) == 2
