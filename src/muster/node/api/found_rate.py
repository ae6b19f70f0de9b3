"""The learning rate of a job whose asker says none: a range test in the asker's trainer, before round 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from muster.algorithms.learning_rate import beside_momentum
from muster.errors import MusterError
from muster.job.context import Model
from muster.protocol.parts import Recipe, StopRule

if TYPE_CHECKING:
    from muster.node.trainer.adapter import StoreTrainer
    from muster.node.trainer.messages import RateMessage

SECONDS_MAX = 10.0
SECONDS_SHARE = 0.02  # of the job's


async def found_rate(
    trainer: StoreTrainer, start: Model, recipe: Recipe, stop: StopRule, tell: Callable[[str], None]
) -> Recipe:
    """`recipe` with the rate that trainings from `start` on this node's data speak for.

    The rate that is found is that of plain steps: where the recipe fixes the round momentum, less goes with
    it.  A fault in the test fails no job: the recipe's own rate stays, and `tell` says why.
    """
    tell("finds the learning rate")
    try:
        found = await trainer.find_rate(start, recipe, seconds_of(stop))
    except (MusterError, ChildProcessError) as error:
        sentence = getattr(error, "sentence", str(error))
        tell(f"takes the learning rate {recipe.lr:g}, the default: the test of rates failed, {sentence}")
        return recipe
    taken = with_rate(recipe, found)
    if found.lr is None:
        tell(f"takes the learning rate {taken.lr:g}, {found.origin()}")
    else:
        tell(f"found the learning rate {taken.lr:g} {found.origin()}")
    return taken


def with_rate(recipe: Recipe, found: RateMessage) -> Recipe:
    """`recipe` with what was found, if anything was."""
    if found.lr is None:
        return recipe
    lr = beside_momentum(found.lr, recipe.server_momentum or 0.0)
    return msgspec.structs.replace(recipe, lr=float(f"{lr:.2g}"))


def seconds_of(stop: StopRule) -> float:
    """How long the test may take."""
    return SECONDS_MAX if stop.seconds is None else min(SECONDS_MAX, SECONDS_SHARE * stop.seconds)
