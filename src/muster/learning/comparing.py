"""Which baselines a task has: those of torch modules, or those of named arrays."""

from __future__ import annotations

from collections.abc import Sequence

from muster.learning import baselines
from muster.learning.arrays import baselines as array_baselines
from muster.learning.arrays.array_task import is_array_task
from muster.learning.baselines import Baselines
from muster.learning.data import open_data
from muster.learning.faults import TaskFault
from muster.learning.loading import load
from muster.learning.task import Task
from muster.protocol.parts import Recipe


def for_task(
    reference: str, options: dict[str, object], nodes: int, recipe: Recipe, steps: Sequence[int]
) -> Baselines:
    """The baselines of an installed task (or file) split among `nodes`, as `options` say. Imports the task.

    Without a common evaluation set there is nothing to compare on: raises TaskFault.
    """

    def task_of(part: int, parts: int) -> Task:
        return load(reference, {**options, "part": part, "parts": parts})

    first = task_of(0, nodes)
    if is_array_task(first):
        return array_baselines.compare(task_of, nodes, recipe, steps)
    opened = [open_data(task) for task in (first, *(task_of(part, nodes) for part in range(1, nodes)))]
    common = opened[0].common
    if common is None:
        raise TaskFault(f"the task {first.name} has no common evaluation set to compare on")
    return baselines.compare(first, [data.own for data in opened], common, recipe, steps)
