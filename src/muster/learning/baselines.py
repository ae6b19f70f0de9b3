"""The baselines of a report: the figures of one node alone, and of all data in one place.

Both take the recipe's local training in one go, with as many steps as the job gave one node, and the same
held-out data, so that their figures stand beside the recombined model's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from muster.learning import local_training, metrics
from muster.learning.evaluation import Evaluation, evaluate
from muster.learning.params import fresh_model
from muster.learning.sources.source import Source
from muster.learning.sources.together import together
from muster.learning.task import Task
from muster.protocol.metrics import score, shown
from muster.protocol.parts import Metric, Recipe

Shown = dict[str, float]  # a metric's value, by its name


@dataclass(frozen=True)
class Baselines:
    """Figures by metric. `alone` has one for each part; `steps` are those that each baseline did."""

    alone: tuple[Shown, ...]
    alone_steps: tuple[int, ...]
    pooled: Shown
    pooled_steps: int
    metrics: tuple[Metric, ...]

    @property
    def best(self) -> int:
        """The part that is best alone, by the first metric."""
        headline = self.metrics[0]
        return max(range(len(self.alone)), key=lambda i: score(headline, self.alone[i].get(headline.name)))


def alone(task: Task, data: Source, held_out: Source, recipe: Recipe, steps: int) -> Evaluation:
    """The evaluation of one model trained `steps` steps on `data` from the job's starting parameters."""
    model = fresh_model(task, recipe.seed)
    local_training.train(
        task,
        model,
        data,
        steps=steps,
        lr=recipe.lr,
        batch=recipe.batch,
        momentum=recipe.momentum,
        seed=recipe.seed,
    )
    return evaluate(task, model, held_out)


def _shown(measured: Evaluation, known: Sequence[Metric]) -> Shown:
    """What was measured, as people see it."""
    figures = metrics.checked(measured.figures, known)
    return {m.name: shown(m, figures[m.name][0] / figures[m.name][1]) for m in known if m.name in figures}


def compare(
    task: Task,
    parts: Sequence[Source],
    held_out: Source,
    recipe: Recipe,
    steps: Sequence[int],
    on_model: Callable[[int, int], None] | None = None,
) -> Baselines:
    """`steps[i]`: what node i did in the whole job; the pooled model does as many as the busiest node.

    `on_model(models done, of)` tells of progress.  A node that did no step is measured untrained.
    """
    if len(parts) != len(steps):
        raise ValueError("there must be one number of steps for each part")
    measured: list[Evaluation] = []
    for data, count in zip(parts, steps, strict=True):
        measured.append(alone(task, data, held_out, recipe, count))
        if on_model is not None:
            on_model(len(measured), len(parts) + 1)
    pooled = alone(task, together(parts), held_out, recipe, max(steps))
    if on_model is not None:
        on_model(len(parts) + 1, len(parts) + 1)
    known = metrics.declared(task, pooled.figures)
    found = tuple(_shown(one, known) for one in measured)
    return Baselines(found, tuple(steps), _shown(pooled, known), max(steps), known)
