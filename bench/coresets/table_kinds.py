"""Ways to sum up a table, five of them, and four uses of what they give.  Used by kinds.py.

Those that are not Muster's own are short versions for comparison: farthest points (Gonzalez 1985), FSS
(Feldman, Schmidt, Sohler 2013: principal components and sensitivity sampling), and DRCC (Lu et al., IEEE JSAC
38(10), 2020: the distributed robust coreset, five nodes).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from muster.coresets.kinds.centres import robust
from muster.coresets.kinds.clusters import clusters, means_of
from muster.coresets.kinds.samples import uniform
from muster.coresets.kinds.summary import Summary
from muster.coresets.spaces import default_space

CELLS = (("iris", 9), ("wine", 12), ("breast_cancer", 20), ("digits", 30), ("digits", 100))
USES = (
    "k-means",
    "PCA",
    "SVM",
    "MLP",
)  # of the first two the cost over that with all data, accuracies of the others
NODES = 5

Rows = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Table:
    x: Rows  # mean 0 and deviation 1 in each column
    y: Labels
    held_x: Rows
    held_y: Labels


def table(name: str, seed: int) -> Table:
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    kept, held, kept_y, held_y = train_test_split(x, y, test_size=0.3, random_state=seed, stratify=y)
    mean, deviation = kept.mean(0), kept.std(0)
    deviation[deviation == 0] = 1
    scaled = [((part - mean) / deviation).astype(np.float32) for part in (kept, held)]
    return Table(scaled[0], kept_y.astype(np.int64), scaled[1], held_y.astype(np.int64))


# ---- ways to sum up ----------------------------------------------------------------------------------


def by_uniform(x: Rows, y: Labels, count: int, rng: np.random.Generator) -> Summary:
    return uniform(x, y, count, default_space(x, y), rng)


def by_robust(x: Rows, y: Labels, count: int, rng: np.random.Generator) -> Summary:
    return robust(x, y, count, default_space(x, y), rng)


def by_farthest(x: Rows, y: Labels, count: int, rng: np.random.Generator) -> Summary:
    chosen = [int(rng.integers(len(x)))]
    away = _squared(x, x[chosen])[:, 0]
    for _ in range(count - 1):
        chosen.append(int(away.argmax()))
        away = np.minimum(away, _squared(x, x[chosen[-1:]])[:, 0])
    weights = np.bincount(_squared(x, x[chosen]).argmin(1), minlength=count)
    return Summary(x[chosen], y[chosen], weights.astype(np.float32))


def by_sensitivity(x: Rows, y: Labels, count: int, rng: np.random.Generator) -> Summary:
    """FSS: samples drawn by how much a bad clustering could cost at them."""
    axes = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][: min(x.shape[1], len(np.unique(y)) + 3)]
    low = (x @ axes.T).astype(np.float32)
    assigned = clusters(low, len(np.unique(y)), rng)
    costs = np.square(low - means_of(low, assigned)[assigned]).sum(1)
    chance = costs / costs.sum() + 1 / np.bincount(assigned)[assigned]
    chance = chance / chance.sum()
    drawn = rng.choice(len(x), count, p=chance)
    return Summary(x[drawn], y[drawn], (1 / (count * chance[drawn])).astype(np.float32))


def by_drcc(x: Rows, y: Labels, count: int, rng: np.random.Generator) -> Summary:
    """Each node sends some centres and samples of what they miss; labels take no part in the clustering."""
    parts = np.array_split(rng.permutation(len(x)), NODES)
    most = max(1, count - NODES + 1)
    tried = [[clusters(x[part], k, rng) for k in range(1, most + 1)] for part in parts]
    costs = np.asarray(
        [[_cost(x[part], found).sum() for found in row] for part, row in zip(parts, tried, strict=True)]
    )
    given = np.ones(NODES, int)

    def objective(given: NDArray[Any]) -> float:
        left = count - given.sum()
        return float(costs[np.arange(NODES), given - 1].sum() / np.sqrt(left)) if left > 0 else np.inf

    while given.sum() < count and given.max() < most:
        steps = [given + (np.arange(NODES) == node) for node in range(NODES)]
        best = min(steps, key=objective)
        if objective(best) >= objective(given):
            break
        given = best
    left, total = count - given.sum(), costs[np.arange(NODES), given - 1].sum()
    found: list[tuple[Rows, Labels, NDArray[Any]]] = []
    quotas = np.diff(
        np.rint(np.cumsum(costs[np.arange(NODES), given - 1]) / total * left).astype(int), prepend=0
    )
    for part, row, k, quota in zip(parts, tried, given, quotas, strict=True):
        assigned, mine = row[k - 1], x[part]
        cost = _cost(mine, assigned)
        drawn = (
            rng.choice(len(part), quota, p=cost / cost.sum())
            if quota and cost.sum() > 0
            else np.empty(0, int)
        )
        weights = total / (left * cost[drawn]) if len(drawn) else np.empty(0)
        centre_weights = np.bincount(assigned) - np.bincount(
            assigned[drawn], weights, int(assigned.max()) + 1
        )
        majority = [np.bincount(y[part][assigned == c]).argmax() for c in range(int(assigned.max()) + 1)]
        found.append((mine[drawn], y[part][drawn], weights))
        found.append((means_of(mine, assigned), np.asarray(majority), np.maximum(centre_weights, 0)))
    xs, ys, ws = (np.concatenate(column) for column in zip(*found, strict=True))
    return Summary(xs, ys.astype(np.int64), ws.astype(np.float32))


def _cost(x: Rows, assigned: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.asarray(np.square(x - means_of(x, assigned)[assigned]).sum(1))


def _squared(x: Rows, centres: Rows) -> NDArray[np.float32]:
    return np.asarray(np.square(x[:, None] - centres[None]).sum(2))


KINDS: dict[str, Callable[[Rows, Labels, int, np.random.Generator], Summary]] = {
    "uniform": by_uniform,
    "farthest": by_farthest,
    "FSS sensitivity": by_sensitivity,
    "RCC per class": by_robust,
    "DRCC, 5 nodes": by_drcc,
}

# ---- what they are good for --------------------------------------------------------------------------


def figures(name: str, count: int, kind: str, seed: int) -> dict[str, float]:
    """Each of USES with the coreset of one data set, split and drawn by `seed`."""
    data = table(name, seed)
    made = KINDS[kind](data.x, data.y, count, np.random.default_rng(seed))
    kept = made.weights > 0
    made = Summary(made.x[kept], made.y[kept], made.weights[kept])
    everything = Summary(data.x, data.y, np.ones(len(data.x), np.float32))
    return {
        "k-means": _clustering(data, made) / _clustering(data, everything),
        "PCA": _projection(data, made) / _projection(data, everything),
        "SVM": _accuracy(data, made, SVC(kernel="linear")),
        "MLP": _accuracy(data, made, MLPClassifier((32,), max_iter=600, random_state=seed)),
        "samples": float(len(made)),
    }


def _clustering(data: Table, made: Summary) -> float:
    model = KMeans(len(np.unique(data.y)), n_init=10, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different samples than clusters
        centres = model.fit(made.x, sample_weight=made.weights).cluster_centers_
    return float(_squared(data.x, centres.astype(np.float32)).min(1).sum())


def _projection(data: Table, made: Summary) -> float:
    mean = np.average(made.x, axis=0, weights=made.weights)
    centred = (made.x - mean) * np.sqrt(made.weights)[:, None]
    kept = max(2, min(10, data.x.shape[1] // 3))
    axes = np.linalg.svd(centred, full_matrices=False)[2][:kept]
    moved = data.x - mean
    return float(np.square(moved - moved @ axes.T @ axes).sum())


def _accuracy(data: Table, made: Summary, model: Any) -> float:
    if len(np.unique(made.y)) < 2:
        return float((data.held_y == made.y[0]).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(made.x, made.y, sample_weight=made.weights / made.weights.mean())
    return float(model.score(data.held_x, data.held_y))
