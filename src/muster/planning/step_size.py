"""The round momentum and the step size of a round, by how dense its messages are: pure functions.

Error feedback brings in what sparse messages left out, which is a momentum of its own: beside it heavy-ball
momentum of the rounds only makes a model swing.  Dense messages gain two to three times in rounds by it.
`Recipe.lr` is the rate of plain steps; with momentum m a step has its effect 1 / (1 - m) times over, so the
rate goes down with it (bench/learning/adaptive_steps.py, docs/algorithms.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from muster.compression.codec import CodecError
from muster.compression.codecs.families import parse
from muster.protocol.parts import Recipe
from muster.protocol.records import Job

# density from which on, round momentum, factor of the rate
BY_DENSITY = ((0.08, 0.8, 0.3), (0.025, 0.5, 0.6), (0.0, 0.0, 1.0))
# Of the rate, behind a training on the samples of all: usual steps on few classes cost such a model up to six
# points, these gain it 0.1 to 0.3 (docs/coresets.md).
GENTLE = 0.2


def density(codec: str) -> float:
    """The part of a model's weights that a message of `codec` carries; 1 for all that are not sparse."""
    try:
        return float(getattr(parse(codec), "density", 1.0))
    except CodecError:
        return 1.0


def of_round(job: Job, codecs: Iterable[str], *, helped: bool = False) -> tuple[float, float]:
    """The same of a round of this job: a gentle one where the model was trained on shared samples before.

    `helped`: all train in the place of one node, in long rounds.  These are plain steps, one after another,
    and a momentum of the rounds only makes the model swing.
    """
    if job.one_shot:
        return job.recipe.server_momentum or 0.0, GENTLE
    if helped:
        return job.recipe.server_momentum or 0.0, 1.0
    return step_size(job.recipe, codecs)


def step_size(recipe: Recipe, codecs: Iterable[str]) -> tuple[float, float]:
    """(round momentum, factor of the local rate) of a round whose updates have these codecs."""
    if recipe.server_momentum is not None:
        return recipe.server_momentum, 1.0
    usual = median([density(codec) for codec in codecs] or [1.0])
    return next((momentum, factor) for least, momentum, factor in BY_DENSITY if usual >= least)
