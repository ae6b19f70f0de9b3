"""The default recipe of a job, and when it ends if nobody says so, by task."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from muster.protocol.parts import Recipe, StopRule

DEFAULT_LR = 0.05  # of plain SGD, where a range test (learning/range_test.py) finds none


@dataclass(frozen=True)
class Defaults:
    recipe: Recipe
    stop: StopRule


# Steps, round momentum and codecs are the planner's.
ANY = Defaults(
    Recipe(lr=DEFAULT_LR, batch=32, steps=0, seed=0, server_momentum=None),
    StopRule(rounds=20),
)
# The mean of the last few models takes out what a model swings by.  It is a model of its own that crosses
# every link whole: nothing for these two, much for a large one.
_MEAN = replace(ANY, recipe=msgspec.structs.replace(ANY.recipe, average=5))
BY_TASK = {"digits": replace(_MEAN, stop=StopRule(rounds=30)), "mnist": _MEAN}


def defaults(task: str) -> Defaults:
    """What to use for `task` (its name); `ANY` for one that is not in the list."""
    return BY_TASK.get(task, ANY)
