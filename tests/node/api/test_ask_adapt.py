"""A node asks nodes with a like need for a job, from the model that it uses, within its owner's budget."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from two_branches import LAYOUT, Catalogue, node

from muster.errors import MusterError
from muster.node.api.adapting import ask_adapt
from muster.node.core import Core
from muster.protocol.parts import StopRule
from muster.protocol.records import Job, Need
from muster.simulation.trainers.linear import TASK, initial_blob
from muster.simulation.virtual import event_loop
from muster.simulation.virtual.network import SimNetwork

SKETCH = np.full(12, 1.0, "<f2").tobytes()


def need(core: Core, catalogue: Catalogue, **changed: Any) -> None:
    given = {"sketch": SKETCH, "sketch_samples": 90} | changed
    core.field.publish(Need(TASK, catalogue.trainer.task.fingerprint, 0, 0, 1, labels=30, wrong=20, **given))


def with_node(scene: Callable[[Core, Catalogue], Awaitable[None]]) -> None:
    async def main() -> None:
        core, catalogue = node(0, SimNetwork(random.Random(1))), Catalogue()
        await core.start()
        catalogue.trainer.blob = core.store.put_blob(initial_blob(LAYOUT))
        catalogue.trainer.task = replace(catalogue.trainer.task, defaults={})
        await scene(core, catalogue)
        await core.close()

    event_loop.run(main())


def test_the_job_has_the_sketch_the_recipe_and_what_is_left_of_the_day() -> None:
    async def scene(core: Core, catalogue: Catalogue) -> None:
        need(core, catalogue)
        job = await ask_adapt(core, catalogue, TASK, "model.safetensors")  # type: ignore[arg-type]
        record = core.jobs.runners[job].view.job
        assert (record.like, record.replay, record.min_nodes) == (SKETCH, 16, 1)
        recipe = record.recipe
        assert (recipe.steps, recipe.batch, recipe.average, recipe.lr) == (10, 16, 3, 0.05)
        assert catalogue.trainer.asked == [], "no test of rates: the model has learnt"
        assert record.stop == StopRule(rounds=15, bytes_node=core.ask_budget.limits.bytes)

    with_node(scene)


def test_so_many_a_day_and_by_hand_whatever_the_day_says() -> None:
    async def scene(core: Core, catalogue: Catalogue) -> None:
        need(core, catalogue)
        for _ in range(core.ask_budget.limits.jobs):
            await ask_adapt(core, catalogue, TASK, "model.safetensors")  # type: ignore[arg-type]
        with pytest.raises(MusterError, match="asked for its 4 jobs of today; again from") as refused:
            await ask_adapt(core, catalogue, TASK, "model.safetensors")  # type: ignore[arg-type]
        assert refused.value.code == "refused"
        job = await ask_adapt(core, catalogue, TASK, "model.safetensors", by_hand=True)  # type: ignore[arg-type]
        assert core.jobs.runners[job].view.job.stop == StopRule(rounds=15)

    with_node(scene)


def test_what_cannot_be_opened_is_not_counted() -> None:
    async def scene(core: Core, catalogue: Catalogue) -> None:
        need(core, catalogue)

        async def fails(*_: Any) -> Any:
            raise MusterError("bad_data", "there is no such file")

        catalogue.trainer.initial = fails
        for _ in range(9):
            with pytest.raises(MusterError, match="no such file"):
                await ask_adapt(core, catalogue, TASK, "model.safetensors")  # type: ignore[arg-type]
        assert core.ask_budget.why_not() is None
        assert core.store.select(Job.KIND) == []

    with_node(scene)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"over": True}, "no need for another model"),
        ({"sketch_samples": 39}, "39 samples, 40 are needed"),
        ({"sketch": b"", "sketch_samples": 0}, "0 samples, 40 are needed"),
    ],
)
def test_there_is_a_need_that_others_can_be_like(changed: Any, why: str) -> None:
    async def scene(core: Core, catalogue: Catalogue) -> None:
        with pytest.raises(MusterError, match="no need for another model"):
            await ask_adapt(core, catalogue, TASK, "model.safetensors")  # type: ignore[arg-type]
        need(core, catalogue, **changed)
        with pytest.raises(MusterError, match=why):
            await ask_adapt(core, catalogue, TASK, "model.safetensors")  # type: ignore[arg-type]

    with_node(scene)


def test_the_bytes_of_such_jobs_are_counted() -> None:
    async def scene(core: Core, catalogue: Catalogue) -> None:
        need(core, catalogue)
        job = await ask_adapt(core, catalogue, TASK, "model.safetensors")  # type: ignore[arg-type]
        await asyncio.sleep(1)
        core.exchange.traffic.took_record(job, 5000)
        assert core.ask_budget.bytes_left() == core.ask_budget.limits.bytes - 5000

    with_node(scene)
