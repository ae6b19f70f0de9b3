"""The default recipe of a job, and when it ends if nobody says so, by task."""

from __future__ import annotations

from dataclasses import dataclass, replace

from muster.protocol.records import Recipe, StopRule

DEFAULT_LR = 0.05  # of plain SGD, where a range test (learning/range_test.py) finds none


@dataclass(frozen=True)
class Defaults:
    recipe: Recipe
    stop: StopRule


# Steps, round momentum and codecs are the planner's; the mean of the last few models at the end takes out
# what the model swings by.
ANY = Defaults(
    Recipe(lr=DEFAULT_LR, batch=32, steps=0, seed=0, server_momentum=None, average=5),
    StopRule(rounds=20),
)

BY_TASK = {"digits": replace(ANY, stop=StopRule(rounds=30))}


def defaults(task: str) -> Defaults:
    """What to use for `task` (its name); `ANY` for one that is not in the list."""
    return BY_TASK.get(task, ANY)
