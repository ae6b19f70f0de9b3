"""Jobs end with their budgets, and rounds take about what was expected of them, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
from small_field import SmallField

from muster.job.coordinator.forecasts import EVERYBODY, load
from muster.planning.forecast_errors import forecast_errors
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.simulation.trainers.linear import LinearTrainer
from muster.simulation.virtual.event_loop import run


def ended(field: SmallField, job: JobId) -> bool:
    return field.runner("a", job).finished() is not None


@pytest.mark.parametrize("nodes", ["a", "abc"])
def test_a_job_ends_when_no_node_may_spend_what_a_round_takes(nodes: str) -> None:
    async def main() -> None:
        field = SmallField(nodes)
        await field.start()
        job = field.ask("a", stop=StopRule(bytes_node=5000))
        assert await field.until(lambda: ended(field, job), 100.0)
        head = field.runner("a", job).head()
        assert head is not None
        assert all(4500 < s.bytes <= 5000 for s in head.spent)
        assert len(head.spent) == len(nodes)
        await field.close()

    run(main())


def test_a_job_waits_a_while_for_nodes_away_that_have_something_left() -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        job = field.ask("a", stop=StopRule(bytes_node=5000), patience_s=2.0)
        assert await field.until(lambda: field.round("a", job) >= 2, 30.0)
        field.network.isolate(field.cores["c"].node)
        began_s = asyncio.get_running_loop().time()
        assert await field.until(lambda: ended(field, job), 300.0)
        assert asyncio.get_running_loop().time() - began_s > 15.0
        await field.close()

    run(main())


class Mistaken(LinearTrainer):
    """The third one that is opened takes 25 s a step, and says that it is as fast as the others."""

    opened: ClassVar[int] = 0

    def __init__(self, facts: Any, store: Any, target: Any, step_s: float, rng: Any) -> None:
        Mistaken.opened += 1
        super().__init__(facts, store, target, 25.0 if Mistaken.opened == 3 else step_s, rng)

    async def measure_speed(self, batch: int) -> float:
        return 0.01


def test_seconds_end_a_job_also_where_an_update_is_owed() -> None:
    async def main() -> None:
        Mistaken.opened = 0
        field = SmallField("abc", Mistaken)
        await field.start()
        job = field.ask("a", stop=StopRule(seconds=60.0), patience_s=20.0)
        assert await field.until(lambda: ended(field, job), 300.0)
        head = field.runner("a", job).head()
        assert head is not None
        assert 55.0 < head.age_s <= 1.02 * 60.0
        await field.close()

    run(main())


def test_rounds_take_what_was_expected_of_them() -> None:
    async def main() -> None:
        field = SmallField("abcd")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=15))
        assert await field.until(lambda: ended(field, job), 200.0)
        store = field.cores["a"].store
        rows = [r for i in range(3, 16) for r in load(store, job, i) if r.node == EVERYBODY]
        assert len(rows) == 13
        found = forecast_errors((r.seconds, r.was_s) for r in rows)
        assert found is not None
        assert found.within <= 0.3
        assert all(r.plan.startswith("4 nodes, 4 steps, ") for r in rows)
        await field.close()

    run(main())
