"""The baselines of a report, for tasks that train named arrays: one node alone, and all data in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from muster.learning import metrics
from muster.learning.arrays import array_task
from muster.learning.baselines import Baselines, Shown
from muster.learning.faults import TaskFault
from muster.learning.task import FitRecipe, Task
from muster.protocol.metrics import shown
from muster.protocol.parts import Recipe


def compare(
    task_of: Callable[[int, int], Task], nodes: int, recipe: Recipe, steps: Sequence[int]
) -> Baselines:
    """`task_of(part, parts)` makes the task; all data in one place are those of the only part.

    `steps[i]`: what node i did in the whole job.  Raises TaskFault.
    """
    tasks = [task_of(part, nodes) for part in range(nodes)]
    if not tasks[0].measures_common:
        raise TaskFault(f"the task {tasks[0].name} has no common evaluation set to compare on")
    measured = [_measured(task, recipe, count) for task, count in zip(tasks, steps, strict=True)]
    whole = _measured(task_of(0, 1), recipe, max(steps))
    known = metrics.declared(tasks[0], whole)

    def as_shown(figures: array_task.Figures) -> Shown:
        sums = metrics.checked(figures, known)
        return {m.name: shown(m, sums[m.name][0] / sums[m.name][1]) for m in known if m.name in sums}

    alone = tuple(as_shown(figures) for figures in measured)
    return Baselines(alone, tuple(steps), as_shown(whole), max(steps), known)


def _measured(task: Task, recipe: Recipe, steps: int) -> array_task.Figures:
    """The figures after `steps` steps in one go from the job's start; a node that did none is untrained."""
    arrays = array_task.initial(task, recipe.seed)
    if steps:
        layout = array_task.layout_of(task, arrays)
        given = FitRecipe(recipe.lr, recipe.batch, recipe.momentum)
        arrays = array_task.fit(task, layout, arrays, given, steps, recipe.seed).arrays
    return array_task.measure(task, arrays)
