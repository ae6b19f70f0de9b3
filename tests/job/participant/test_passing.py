"""A fault of one node's task or data costs that node a round, never anybody the job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from small_field import SmallField

from muster.errors import MusterError
from muster.job.context import Model, TrainingRequest, TrainingResult
from muster.job.participant.passing import retry_s, skipped
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.protocol.records import Refusal
from muster.simulation.trainers.linear import LinearTrainer, target_of
from muster.simulation.virtual.event_loop import run

WHY = "row 5 of x of training_data() holds NaN"


def failing(when: Callable[[str, int], bool]) -> type[LinearTrainer]:
    """A trainer that fails where `when(name's number, round)` says so; numbers go by the order of names."""

    class Failing(LinearTrainer):
        async def train(self, model: Model, request: TrainingRequest, progress: Any) -> TrainingResult:
            if when("abc"[self.number], request.round):
                raise MusterError("task_fault", WHY)
            return await super().train(model, request, progress)

        @property
        def number(self) -> int:
            return next(i for i in range(3) if (self._target == target_of(i, 40)).all())

    return Failing


def done(field: SmallField, job: JobId) -> bool:
    return all(field.runner(n, job).state() == "finished" for n in field.cores)


def counted(field: SmallField, job: JobId, name: str) -> list[int]:
    """The rounds that counted an update of a node."""
    points = field.runner("a", job).view.graph.points.values()
    node = field.cores[name].node
    return sorted(p.round for p in points if any(f.node == node for f in p.folded))


def refusals(field: SmallField, job: JobId) -> list[Refusal]:
    found = [e.record for e in field.cores["a"].ledger.load("refusal", job)]
    return [r for r in found if isinstance(r, Refusal)]


@pytest.mark.parametrize("name", ["a", "c"])  # the asker, which coordinates, and another node
def test_a_node_leaves_out_one_round_and_is_asked_again(name: str) -> None:
    async def main() -> None:
        field = SmallField("abc", failing(lambda who, round_: who == name and round_ == 3))
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=6))
        began_s = asyncio.get_running_loop().time()
        assert await field.until(lambda: done(field, job), 120.0)
        assert asyncio.get_running_loop().time() - began_s < 60.0  # nobody waited for it
        assert counted(field, job, name) == [1, 2, 4, 5, 6]
        assert [(r.round, r.reason) for r in refusals(field, job)] == [(3, WHY)]
        assert f"takes no part in round 3: {WHY}" in field.said(name)
        points = field.runner("b", job).view.graph.points.values()
        assert {p.author for p in points} == {field.cores["a"].node}  # it coordinates all the same
        await field.close()

    run(main(), until_s=3600)


def test_others_are_told_while_the_round_goes_on() -> None:
    async def main() -> None:
        field = SmallField("abc", failing(lambda who, round_: who == "c" and round_ >= 2))
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=30))

        def told() -> bool:
            waits = field.runner("a", job).waits()
            return any(w.startswith("c takes no part in round ") and w.endswith(WHY) for w in waits)

        assert await field.until(told, 60.0)
        assert await field.until(lambda: field.cores["c"].node in field.runner("b", job).view.refusing(), 9.0)
        assert await field.until(lambda: done(field, job), 300.0)
        assert counted(field, job, "c") == [1]
        asked = [r.round for r in refusals(field, job)]
        assert len(asked) < 10  # one that fails each time is asked less and less
        await field.close()

    run(main(), until_s=3600)


def test_two_nodes_of_which_one_fails_go_on_with_one() -> None:
    async def main() -> None:
        field = SmallField("ab", failing(lambda who, round_: who == "b" and round_ > 1))
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=5))
        began_s = asyncio.get_running_loop().time()
        assert await field.until(lambda: done(field, job), 120.0)
        assert asyncio.get_running_loop().time() - began_s < 60.0
        assert counted(field, job, "b") == [1]
        await field.close()

    run(main(), until_s=3600)


def test_when_all_fail_the_asker_is_told_and_they_try_again() -> None:
    async def main() -> None:
        times = {"a": 0, "b": 0}

        def when(who: str, round_: int) -> bool:
            times[who] += round_ == 2
            return round_ == 2 and times[who] <= 2

        field = SmallField("ab", failing(when))
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=3))
        runner = field.runner("a", job)
        assert await field.until(lambda: runner.error is not None, 60.0)
        assert runner.error == f"no node takes part in round 2: {WHY}"
        assert field.round("a", job) == 1  # no commit without an update
        assert await field.until(lambda: done(field, job), 600.0)
        assert runner.error is None
        await field.close()

    run(main(), until_s=3600)


def test_a_task_that_cannot_be_opened_is_tried_again() -> None:
    async def main() -> None:
        faults = {"c": MusterError("bad_data", "there is no file leaves.npz")}
        field = SmallField("abc", faults=faults)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=400))
        assert await field.until(lambda: field.round("a", job) >= 3, 60.0)
        assert "c takes no part: there is no file leaves.npz" in field.runner("a", job).waits()
        field._faults = {}  # somebody puts the file there
        assert await field.until(lambda: bool(counted(field, job, "c")), 300.0)
        assert field.runner("c", job).error is None
        assert not [w for w in field.runner("a", job).waits() if "takes no part" in w]
        await field.close()

    run(main(), until_s=3600)


def test_rounds_are_skipped_and_rests_are_longer_by_and_by() -> None:
    assert [skipped(n) for n in range(1, 9)] == [0, 0, 0, 1, 3, 7, 15, 15]
    assert [retry_s(n) for n in (1, 2, 5, 50)] == [60.0, 120.0, 960.0, 960.0]
