"""When a job's model becomes smaller, and by how much."""

from __future__ import annotations

from muster.protocol.parts import Prune


def width_at(prune: Prune | None, round_: int) -> float:
    """The fraction of its channels that a job's model has once so many rounds are done."""
    if prune is None or round_ < prune.first:
        return 1.0
    steps, done = prune.last - prune.first + 1, min(round_, prune.last) - prune.first + 1
    return 1.0 - (1.0 - prune.width) * done / steps


def pruning_over(prune: Prune | None, round_: int) -> bool:
    """Whether the model of a round has, in its whole round, been as small as it is to become."""
    return prune is None or round_ > prune.last
