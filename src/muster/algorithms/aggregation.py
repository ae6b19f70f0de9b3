"""The weights of a round's updates, and their weighted sum in fp64.

Weights lie between those of FedAvg and FedNova (Wang, Liu, Liang, Joshi, Poor, NeurIPS 2020, arXiv
2007.07481).  Update i counts for n_i samples, those of its node, did tau_i local steps, and is s_i rounds
old:

    p_i     = n_i c_i / sqrt(1 + s_i), scaled to sum p_i = 1
    tau_eff = sum p_i a_i
    model  += server_lr * sum p_i min((tau_eff / a_i) ** EXPONENT, BOOST_MAX) update_i

a_i = ||a_i||_1 is the number of plain steps that the local optimiser's tau_i steps amount to.  FedNova, an
exponent of 1, lets a node that did fewer steps pull in its own direction as strongly as its samples entitle
it to, and stretches the noise of few steps; FedAvg, an exponent of 0, follows whoever does most steps.  The
discount of stale updates, 1/sqrt(1 + s), is FedBuff's (Nguyen et al., AISTATS 2022, arXiv 2106.06639, section
5).  c_i is the share that the update's base has in the model that it is added to: an update that was trained
on one branch and arrives after a merge counts as it would have had it arrived before.  With equal steps, no
staleness and no merge this is FedAvg weighted by samples.

The sum takes one update at a time, in the order given; its memory is that of one model.  It is a pure
function of updates, weights and order, bit for bit: only element-wise +, * and rounding are used, and what is
below TINY (compression/change.py) counts as zero.

    state = init(layout)
    for update, share in zip(updates, weighed.shares):
        state = accumulate(state, update, share)
    params, _ = server.apply(server.init(previous), base, state, server_lr * weighed.scale)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.algorithms.precision import add_weighted
from muster.compression.tensors import Layout, TensorError, check, is_unchanged

# Between both: eight nodes with speeds of 1 to 1/8 and two classes of MNIST each reach 93 % in 130, 154,
# 164 s (three seeds); FedNova takes 202, 156, 156, FedAvg 166, 179, 143 (see
# docs/notes/2026-11-30-local-steps.md).
EXPONENT = 0.5
BOOST_MAX = 4.0


@dataclass(frozen=True)
class UpdateMeta:
    """What an update's weight depends on.

    `samples` that it counts for, local `steps`, `staleness` in rounds, local `momentum`, and
    `ancestor_share` (above 0, at most 1): how much of the parameters that it was trained on is in those that
    it is added to.
    """

    samples: float
    steps: int
    staleness: int = 0
    momentum: float = 0.0
    ancestor_share: float = 1.0


@dataclass(frozen=True)
class Weights:
    """`shares` of the round (sum 1, in the order given); it moves by `scale` * sum share_i * update_i."""

    shares: tuple[float, ...]
    scale: float
    tau_eff: float


def accumulation(steps: int, momentum: float) -> float:
    """How many plain SGD steps `steps` steps with heavy-ball `momentum` amount to: ||a||_1.

    FedNova section 3; with rho = momentum: (tau - rho (1 - rho^tau) / (1 - rho)) / (1 - rho).
    """
    if momentum == 0.0:
        return float(steps)
    return (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)


def weights(work: Sequence[UpdateMeta], exponent: float = EXPONENT) -> Weights:
    """The weights of a round's updates, in their order. `exponent`: 0 is FedAvg, 1 FedNova.

    The normalisation raises an update's weight to at most `BOOST_MAX` times FedAvg's: one step on rare data,
    stretched to forty, is noise.

    Raises ValueError when there is nothing to weigh.
    """
    if not work:
        raise ValueError("a round without updates has no weights")
    if any(w.samples <= 0 or w.steps <= 0 or w.staleness < 0 or not 0 <= w.momentum < 1 for w in work):
        raise ValueError("an update needs samples, steps, an age of 0 or more and a momentum in [0, 1)")
    if any(not 0 < w.ancestor_share <= 1 for w in work):
        raise ValueError("the share of an update's base is above 0 and at most 1")
    mass = [w.samples * w.ancestor_share / math.sqrt(1 + w.staleness) for w in work]
    total = math.fsum(mass)
    p = [m / total for m in mass]
    a = [accumulation(w.steps, w.momentum) for w in work]
    tau_eff = math.fsum(x * y for x, y in zip(p, a, strict=True))
    raw = [x * min(math.pow(tau_eff / y, exponent), BOOST_MAX) for x, y in zip(p, a, strict=True)]
    scale = math.fsum(raw)
    return Weights(tuple(r / scale for r in raw), scale, tau_eff)


@dataclass(frozen=True)
class Accumulator:
    """A partial sum in fp64: tensor name -> sum of weight * update.

    `weight` is the sum of the weights, `counted` the number of updates; `changed_by` has for each statistic
    the sum of the weights of those that changed it.
    """

    layout: Layout
    sums: dict[str, NDArray[np.float64]]
    weight: float = 0.0
    counted: int = 0
    changed_by: dict[str, float] = field(default_factory=dict)


def init(layout: Layout) -> Accumulator:
    """The empty sum."""
    return Accumulator(layout, {spec.name: np.zeros(spec.shape, np.float64) for spec in layout.tensors})


def accumulate(state: Accumulator, update: Mapping[str, NDArray[Any]], weight: float) -> Accumulator:
    """Add `weight` * `update` (with the dtypes of `layout.changes`). The arrays of `state` are reused.

    Raises TensorError when the update is invalid: then `state` is of no more use, as what is not finite is
    found while it is added up.
    """
    check(state.layout.changes, update, finite=False)
    if not math.isfinite(weight) or weight < 0:
        raise ValueError(f"a weight must be finite and not negative, not {weight}")
    for spec in state.layout.tensors:
        if spec.averaged:
            if is_unchanged(update[spec.name]):
                continue
            state.changed_by[spec.name] = state.changed_by.get(spec.name, 0.0) + weight
        if not add_weighted(state.sums[spec.name], update[spec.name], weight):
            raise TensorError(f"tensor {spec.name!r} holds values that are not finite")
    return replace(state, weight=state.weight + weight, counted=state.counted + 1)
