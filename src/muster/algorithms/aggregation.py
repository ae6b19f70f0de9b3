"""Updates in, a model out: the weights of a round, the fold and the merge (design 5.3 to 5.7).

Weights follow FedNova (Wang, Liu, Liang, Joshi, Poor, NeurIPS 2020, arXiv 2007.07481): an update of tau_i
local steps is normalised by the accumulation ||a_i||_1 of its local optimiser, so that a node that did
fewer steps pulls in its own direction as strongly as its samples entitle it to; the round moves by
tau_eff = sum p_i ||a_i||_1.  Age discounts p_i by 1/sqrt(1 + s) (FedBuff, Nguyen et al., AISTATS 2022,
arXiv 2106.06639, section 5).  An update that was trained on one branch and comes after the branches were
merged counts by the share that its branch has in the merge, as it would had it come before.  With equal
steps, no age and no merge this is FedAvg weighted by samples.

The fold adds one update at a time in fp64, in the order given; its memory is that of one model.  Its result
is a pure function of updates, weights and order, bit for bit: only element-wise +, * and rounding are used,
and what is below TINY (compression/change.py) counts as zero, in what comes in and in what comes out.

    fold = start(layout)
    for arrays, share in zip(updates, weighed.shares):
        fold = add(fold, arrays, share)
    params = finish(fold, base, server_lr * weighed.scale)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.compression.change import flush
from muster.compression.tensors import Layout, TensorSpec, check

BOOST_MAX = 4.0


@dataclass(frozen=True)
class UpdateMeta:
    """What lies behind one update: `samples` the node holds, local `steps`, `staleness` in rounds, and the
    `part` (above 0, at most 1) that the parameters it was trained on have in those it is folded into."""

    samples: int
    steps: int
    staleness: int = 0
    momentum: float = 0.0
    part: float = 1.0


@dataclass(frozen=True)
class Weights:
    """`shares` of the round (sum 1, in the order given); it moves by `scale` * sum share_i * update_i."""

    shares: tuple[float, ...]
    scale: float
    tau_eff: float


def accumulation(steps: int, momentum: float) -> float:
    """||a||_1 of `steps` SGD steps with heavy-ball `momentum`: how many plain steps they amount to.

    FedNova section 3; with rho = momentum: (tau - rho (1 - rho^tau) / (1 - rho)) / (1 - rho).
    """
    if momentum == 0.0:
        return float(steps)
    return (steps - momentum * (1 - momentum**steps) / (1 - momentum)) / (1 - momentum)


def weights(work: Sequence[UpdateMeta]) -> Weights:
    """The weights of a round. An update's normalisation boosts it at most `BOOST_MAX` times over FedAvg's
    weight: one step on rare data, stretched to forty, is noise.

    Raises ValueError when there is nothing to weigh.
    """
    if not work:
        raise ValueError("a round without updates has no weights")
    if any(w.samples <= 0 or w.steps <= 0 or w.staleness < 0 or not 0 <= w.momentum < 1 for w in work):
        raise ValueError("an update needs samples, steps, an age of 0 or more and a momentum in [0, 1)")
    if any(not 0 < w.part <= 1 for w in work):
        raise ValueError("the part of an update's base is above 0 and at most 1")
    mass = [w.samples * w.part / math.sqrt(1 + w.staleness) for w in work]
    total = math.fsum(mass)
    p = [m / total for m in mass]
    a = [accumulation(w.steps, w.momentum) for w in work]
    tau_eff = math.fsum(x * y for x, y in zip(p, a, strict=True))
    raw = [x * min(tau_eff / y, BOOST_MAX) for x, y in zip(p, a, strict=True)]
    scale = math.fsum(raw)
    return Weights(tuple(r / scale for r in raw), scale, tau_eff)


@dataclass(frozen=True)
class Accumulator:
    """A partial sum in fp64: tensor name -> sum of weight * update. `add` consumes it."""

    layout: Layout
    sums: dict[str, NDArray[np.float64]]
    weight: float = 0.0
    counted: int = 0


def start(layout: Layout) -> Accumulator:
    """An empty fold."""
    return Accumulator(layout, {spec.name: np.zeros(spec.shape, np.float64) for spec in layout.tensors})


def add(fold: Accumulator, update: Mapping[str, NDArray[Any]], weight: float) -> Accumulator:
    """The fold with `weight` * `update` added (a change, with the dtypes of `layout.changes`); the old fold's
    arrays are reused.

    Raises TensorError, with the fold unchanged, when the update is invalid.
    """
    check(fold.layout.changes, update)
    if not math.isfinite(weight) or weight < 0:
        raise ValueError(f"a weight must be finite and not negative, not {weight}")
    for spec in fold.layout.tensors:
        value = _wide(update[spec.name])
        value *= weight
        fold.sums[spec.name] += value
    return Accumulator(fold.layout, fold.sums, fold.weight + weight, fold.counted + 1)


def finish(
    fold: Accumulator,
    base: Mapping[str, NDArray[Any]],
    server_lr: float = 1.0,
    *,
    server_momentum: float = 0.0,
    previous: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, NDArray[Any]]:
    """base + server_lr * sum + server_momentum * (base - previous), rounded to the layout's dtypes.

    `previous` are the parameters of base's parent: heavy-ball momentum whose only state is the history
    itself; None (the root's child, a merge) leaves the momentum out.  Counters and statistics take the
    weighted mean, without rate or momentum.  Integers and truth values move by the mean change, rounded to a
    whole step, and stay in their range (int64 wraps around): one update alone arrives exactly
    (int64: a change of at most 2**53, whatever the base is).

    Raises TensorError when base or result is invalid.
    """
    check(fold.layout, base)
    out: dict[str, NDArray[Any]] = {}
    for spec in fold.layout.tensors:
        total = fold.sums[spec.name]
        if not spec.floating:
            out[spec.name] = _stepped(spec, base[spec.name], total / (fold.weight or 1.0))
            continue
        value = _wide(base[spec.name])
        if spec.learnt:
            moved = value + server_lr * total
            if previous is not None and server_momentum:
                moved = moved + server_momentum * (value - _wide(previous[spec.name]))
        else:
            moved = value + total / (fold.weight or 1.0)
        out[spec.name] = _rounded(spec, moved)
    check(fold.layout, out)
    return out


def merge(
    layout: Layout, a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]], alpha: float
) -> dict[str, NDArray[Any]]:
    """alpha * a + (1 - alpha) * b in fp64, rounded to the layout's dtypes (design 5.7); integers and truth
    values are a + (1 - alpha) * (b - a), the step rounded to a whole number."""
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must be in [0, 1], not {alpha}")
    check(layout, a)
    check(layout, b)
    merged: dict[str, NDArray[Any]] = {}
    for spec in layout.tensors:
        one, other = a[spec.name], b[spec.name]
        if spec.floating:
            merged[spec.name] = _rounded(spec, alpha * _wide(one) + (1.0 - alpha) * _wide(other))
        else:
            change = np.subtract(other, one, dtype=spec.change_dtype)
            merged[spec.name] = _stepped(spec, one, (1.0 - alpha) * change.astype(np.float64))
    return merged


def _wide(array: NDArray[Any]) -> NDArray[np.float64]:
    return flush(np.array(array, np.float64))


def _rounded(spec: TensorSpec, value: NDArray[np.float64]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # an overflow becomes inf, which `check` then names
        return np.asarray(flush(np.asarray(value)).astype(spec.dtype))


def _stepped(spec: TensorSpec, base: NDArray[Any], by: NDArray[np.float64]) -> NDArray[Any]:
    """Integers or truth values: `base` + `by`, the step rounded to a whole number (half: to the even one)."""
    reach = 2.0**63 if spec.dtype == "int64" else 2.0**32  # of a step
    step = np.clip(np.rint(by), -reach, np.nextafter(reach, 0.0)).astype(np.int64)
    moved = np.asarray(base.astype(np.int64) + step)
    if spec.dtype != "int64":
        low, high = (0, 1) if spec.dtype == "bool" else (np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max)
        np.clip(moved, low, high, out=moved)
    return moved.astype(spec.dtype)
