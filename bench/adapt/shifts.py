"""What answers to a few hundred samples can tell of a new class, or of a change that comes slowly, at best.

    python bench/adapt/shifts.py --data mnist.npz [--work FOLDER] [--json FILE]

For each kind and statistic: by how many of its own spreads the mean of the first answers after the change is
off, where reference and spread are taken from 3,000 clean answers, which no watch ever has; the median and
the least of 8 streams.  A watch that is to give one false alarm in 50,000 independent answers must not sound
below 4 or so.  Classes, directions and seeds are none of noticing.py's.  About two minutes on a quiet core.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import conditions
import numpy as np
from conditions import Images
from numpy.typing import NDArray

STREAMS, HALF, FIRST_SEED = 8, 3000, 200
NEW = (3, 5, 7)
WITHIN = {"new class": 400, "gradually": 150}  # answers
REFERENCE = 1000  # of them the classes' places are known to the distances
Logits = NDArray[np.float64]


def turned_back(x: Images, rng: np.random.Generator) -> Images:
    return conditions.turned(x, -np.minimum(np.arange(len(x)) * 0.06, 60.0))


def noisier(x: Images, rng: np.random.Generator) -> Images:
    return np.clip(x + rng.normal(0, 0.45, x.shape) * _part(x), 0, 1).astype(np.float32)


def more_blurred(x: Images, rng: np.random.Generator) -> Images:
    return ((1 - _part(x)) * x + _part(x) * conditions.blurred(x, rng)).astype(np.float32)


def _part(x: Images) -> NDArray[np.float64]:
    """How much of a change has come by each image: all of it after 1,000."""
    return np.minimum(np.arange(len(x)) / 1000, 1.0)[:, None, None]


GRADUAL = {"rotated to -60": turned_back, "noisy": noisier, "blurred": more_blurred}


def logits_of(kind: str, seed: int, data: Path, folder: Path) -> Logits:
    """Of 3,000 clean images and the first of the changed ones; `kind`: "gradually ..." or "new class N"."""
    x, y = conditions.fresh(data)
    what, _, name = kind.partition(" ") if kind.startswith("gradually") else kind.rpartition(" ")
    without = None if what == "gradually" else int(name)
    rng = np.random.default_rng([seed, *kind.encode()])
    model = conditions.trained(folder, data, without)
    before = rng.permutation(np.flatnonzero(y != without))[:HALF]
    after = rng.permutation(np.setdiff1d(np.arange(len(y)), before))[: WITHIN[what]]
    later = GRADUAL[name](x[after], rng) if what == "gradually" else x[after]
    clean = conditions.outputs(model, x[before])
    return np.concatenate([clean.numpy(), conditions.outputs(model, later).numpy()]).astype(np.float64)


def statistics(logits: Logits) -> dict[str, NDArray[np.float64]]:
    """A number of each answer, by what it is called."""
    top = logits.max(1, keepdims=True)
    energy = top[:, 0] + np.log(np.exp(logits - top).sum(1))
    p = np.exp(logits - energy[:, None])
    entropy = np.maximum(0.0, -(p * np.log(p + 1e-12)).sum(1))
    centred = logits - logits.mean(1, keepdims=True)
    return {
        "entropy": entropy,
        "its root": np.sqrt(entropy),
        "its logarithm": np.log(entropy + 1e-2),
        "confidence": p.max(1),
        "free energy": energy,
        "distance to its class": _distance(centred, logits.argmax(1)),
        "to its fifth neighbour": _neighbour(centred),
    }


def _distance(x: Logits, label: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mahalanobis, to the nearest class of the reference."""
    known, of = x[:REFERENCE], label[:REFERENCE]
    means = {c: known[of == c].mean(0) for c in np.unique(of)}
    within = np.cov(np.concatenate([known[of == c] - mean for c, mean in means.items()]).T)
    inverse = np.linalg.pinv(within + 1e-2 * np.eye(x.shape[1]))
    found = [np.einsum("ij,jk,ik->i", x - mean, inverse, x - mean) for mean in means.values()]
    nearest: NDArray[np.float64] = np.min(found, axis=0)
    return nearest


def _neighbour(x: Logits) -> NDArray[np.float64]:
    known = x[:REFERENCE]
    squares = (x**2).sum(1)[:, None] + (known**2).sum(1) - 2 * x @ known.T
    found: NDArray[np.float64] = np.sqrt(np.maximum(np.sort(squares, axis=1)[:, 5], 0.0))
    return found


def shift(values: NDArray[np.float64]) -> float:
    """Of the mean after the change, in spreads of a mean of as many independent answers."""
    clean, later = values[:HALF], values[HALF:]
    return float((later.mean() - clean.mean()) / clean.std() * np.sqrt(len(later)))


def main() -> int:
    given = conditions.parser(__doc__).parse_args()
    kinds = [*(f"new class {c}" for c in NEW), *(f"gradually {name}" for name in GRADUAL)]
    result: dict[str, Any] = {}
    for kind in kinds:
        found: dict[str, list[float]] = {}
        for seed in range(FIRST_SEED, FIRST_SEED + STREAMS):
            for name, values in statistics(logits_of(kind, seed, given.data, given.work)).items():
                found.setdefault(name, []).append(abs(shift(values)))
        result[kind] = {name: [float(np.median(s)), min(s)] for name, s in found.items()}
    names = list(next(iter(result.values())))
    print("| change |", " | ".join(names), "|\n|", "---|" * (len(names) + 1), sep="")
    for kind, row in result.items():
        print(f"| {kind} |", " | ".join(f"{median:.1f}, {least:.1f}" for median, least in row.values()), "|")
    conditions.keep(result, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
