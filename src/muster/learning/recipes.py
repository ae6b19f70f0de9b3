"""The default recipe of a job, by task.

They were chosen by simulation in one process (bench/learning/local_simulation.py), under the conditions of
the scenario field-8 and two classes a node.  docs/notes/2026-11-28-recipes.md has the figures, on seeds that
had no part in the choice.
"""

from __future__ import annotations

from dataclasses import dataclass

from muster.protocol.records import Recipe, StopRule

DEFAULT_LR = 0.05  # of plain SGD, where a range test finds none


@dataclass(frozen=True)
class Defaults:
    """`finds_lr`: the recipe's rate holds only where a range test finds none (learning/range_test.py)."""

    recipe: Recipe
    stop: StopRule
    finds_lr: bool = False


# Heavy-ball momentum of the rounds carries the classes whose holders are away; it also makes the model swing
# about its course, and the mean of the last few models at the end takes the swing out.
ANY = Defaults(
    Recipe(lr=DEFAULT_LR, batch=32, steps=20, seed=0, server_momentum=0.6), StopRule(rounds=20), finds_lr=True
)

BY_TASK: dict[str, Defaults] = {
    "digits": Defaults(
        Recipe(lr=0.1, batch=32, steps=20, seed=0, server_momentum=0.7, average=5), StopRule(rounds=30)
    ),
    "mnist": Defaults(
        Recipe(lr=0.03, batch=16, steps=20, seed=0, server_momentum=0.8, average=5), StopRule(rounds=20)
    ),
}


def defaults(task: str) -> Defaults:
    """What to use for `task` (its name); `ANY` for one that is not in the list."""
    return BY_TASK.get(task, ANY)
