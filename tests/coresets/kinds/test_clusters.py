"""k-means against scikit-learn's, and in the corners."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris

from muster.coresets.kinds import clusters as module
from muster.coresets.kinds.clusters import clusters, means_of


def cost(points: NDArray[np.float32], assigned: NDArray[np.int64]) -> float:
    return float(np.square(points - means_of(points, assigned)[assigned]).sum())


@pytest.mark.parametrize(("load", "count"), [(load_iris, 9), (load_digits, 10), (load_digits, 60)])
def test_it_costs_as_little_as_scikit_learn_s(load: object, count: int) -> None:
    points = load().data.astype(np.float32)  # type: ignore[operator]
    theirs = min(KMeans(count, n_init=1, random_state=seed).fit(points).inertia_ for seed in range(3))
    assert cost(points, clusters(points, count, np.random.default_rng(0))) < 1.04 * theirs


def test_many_columns_are_projected_at_little_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(12, 300))
    points = (kinds[rng.integers(12, size=600)] + rng.normal(0, 0.3, (600, 300))).astype(np.float32)
    near = cost(points, clusters(points, 12, np.random.default_rng(1)))
    monkeypatch.setattr(module, "DIMENSIONS", 300)
    assert near < 1.02 * cost(points, clusters(points, 12, np.random.default_rng(1)))


def test_more_points_than_centres_are_sought_on_are_all_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POINTS_MAX", 50)
    monkeypatch.setattr(module, "DISTANCES_MAX", 100)
    points = np.repeat(np.arange(4), 100)[:, None].astype(np.float32)
    assigned = clusters(points, 4, np.random.default_rng(0))
    assert np.bincount(assigned).tolist() == [100] * 4
    assert cost(points, assigned) == 0


def test_equal_points_are_one_cluster() -> None:
    points = np.ones((30, 2), np.float32)
    assert clusters(points, 5, np.random.default_rng(0)).tolist() == [0] * 30


def test_as_many_centres_as_points() -> None:
    points = np.ones((3, 2), np.float32)
    assert clusters(points, 9, np.random.default_rng(0)).tolist() == [0, 1, 2]
