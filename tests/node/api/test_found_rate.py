"""A job whose asker says no learning rate gets one that a test finds, whatever goes wrong with the test."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from two_branches import LAYOUT, Catalogue, node

from muster.algorithms.learning_rate import beside_momentum
from muster.errors import MusterError
from muster.learning.recipes import ANY
from muster.node.api.found_rate import SECONDS_MAX, with_rate
from muster.node.api.job_requests import ask
from muster.node.trainer.messages import RateMessage
from muster.protocol.parts import Recipe
from muster.simulation.trainers.linear import TASK, initial_blob
from muster.simulation.virtual import event_loop
from muster.simulation.virtual.network import SimNetwork

FOUND = RateMessage(0.06, 0.001, 1.0, 84, 1.42)


def asked(rate: Any = FOUND, known: dict[str, Any] | None = None, **given: Any) -> tuple[Any, Any, list[str]]:
    """(the job's recipe, the trainer, what was logged of rates)."""

    async def main() -> tuple[Any, Any, list[str]]:
        core, catalogue = node(0, SimNetwork(random.Random(1))), Catalogue()
        await core.start()
        trainer = catalogue.trainer
        trainer.rate, trainer.blob = rate, core.store.put_blob(initial_blob(LAYOUT))
        trainer.task = replace(trainer.task, defaults=known or {})
        job = await ask(core, catalogue, {"task": TASK, **given}, b"n")  # type: ignore[arg-type]
        recipe = core.jobs.runners[job].view.job.recipe
        told = [event.text for event in core.log.events if "rate" in event.text]
        await core.close()
        return recipe, trainer, told

    return event_loop.run(main())


def test_it_is_in_the_jobs_record_and_the_asker_hears_of_it() -> None:
    recipe, trainer, told = asked(server_momentum=0.0, batch=8, seed=7)
    assert recipe.lr == 0.06
    assert [(r.batch, r.seed) for r, _ in trainer.asked] == [(8, 7)]
    assert told == [
        "finds the learning rate",
        "found the learning rate 0.06 in 1.4 s (tried 0.001 to 1)",
    ]


@pytest.mark.parametrize(
    ("given", "known", "lr"),
    [({"lr": 0.2}, {}, 0.2), ({}, {"lr": 0.4}, 0.4), ({"lr": 0.2}, {"lr": 0.4}, 0.2)],
)
def test_nobody_looks_for_a_rate_that_is_known(given: Any, known: Any, lr: float) -> None:
    recipe, trainer, told = asked(known=known, **given)
    assert recipe.lr == lr
    assert trainer.asked == []
    assert told == []


@pytest.mark.parametrize(
    "rate",
    [
        RateMessage(None, why="the task steps its optimisers itself"),
        MusterError("task_fault", "the task failed in leaves.py, line 3"),
        ChildProcessError("the trainer ended with status 9"),
    ],
)
def test_a_test_that_fails_fails_no_job(rate: Any) -> None:
    recipe, trainer, told = asked(rate)
    assert recipe.lr == ANY.recipe.lr
    assert not trainer.closed
    said = getattr(rate, "why", "") or getattr(rate, "sentence", str(rate))
    assert told[-1].startswith(f"takes the learning rate {ANY.recipe.lr:g}, the default: ")
    assert said in told[-1]


def test_an_interrupted_asker_leaves_no_trainer_and_no_job() -> None:
    async def main() -> None:
        core, catalogue = node(0, SimNetwork(random.Random(1))), Catalogue()
        await core.start()
        trainer = catalogue.trainer
        trainer.blob = core.store.put_blob(initial_blob(LAYOUT))
        trainer.task = replace(trainer.task, defaults={})

        async def forever(*_: object) -> RateMessage:
            await asyncio.sleep(1e9)
            raise AssertionError

        trainer.find_rate = forever  # type: ignore[method-assign]
        asking = asyncio.create_task(ask(core, catalogue, {"task": TASK}, b"n"))  # type: ignore[arg-type]
        await asyncio.sleep(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert trainer.closed
        assert not core.jobs.runners
        await core.close()

    event_loop.run(main())


def test_it_takes_a_fiftieth_of_the_jobs_time_at_most() -> None:
    assert [asked(**given)[1].asked[0][1] for given in ({}, {"seconds": 60.0}, {"seconds": 9e5})] == [
        SECONDS_MAX, 1.2, SECONDS_MAX,
    ]  # fmt: skip


def test_a_round_momentum_that_is_fixed_takes_less() -> None:
    """As the planner does where it chooses the momentum itself."""
    recipe = Recipe(0.05, 32, 20, 0)
    rates = [with_rate(recipe_with(recipe, m), FOUND).lr for m in (None, 0.0, 0.5, 0.8)]
    assert rates == [0.06, 0.06, 0.036, 0.018]
    assert [beside_momentum(1.0, m) for m in (0.0, 0.5, 0.8)] == pytest.approx([1.0, 0.6, 0.3], rel=0.02)


def recipe_with(recipe: Recipe, momentum: float | None) -> Recipe:
    return Recipe(recipe.lr, recipe.batch, recipe.steps, recipe.seed, server_momentum=momentum)
