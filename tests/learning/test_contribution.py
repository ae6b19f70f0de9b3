from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from toys import bench

from muster.algorithms.contribution import WeightedUpdate
from muster.compression.tensors import TensorError
from muster.learning import contribution, params
from muster.learning.digits import Digits
from muster.learning.faults import TaskFault
from muster.learning.sources.arrays import ArraySource, as_arrays
from muster.learning.task import Task

torch.set_num_threads(1)


class Squares(Task):
    """A quadratic loss, for which the values add up exactly."""

    name = "squares"

    def model(self) -> nn.Module:
        return nn.Linear(3, 1, bias=False)

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ((output[:, 0] - target) ** 2).mean()

    def correct(self, output: torch.Tensor, target: torch.Tensor) -> int:
        return 0


class Normed(Squares):
    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))


def data(count: int = 60) -> ArraySource:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(count, 3)).astype(np.float32)
    return as_arrays((x, (x @ [1.0, -2.0, 0.5]).astype(np.float32)), "data")


def valued(task: Task, updates: list[dict[str, Any]], weights: list[float]) -> contribution.Contributions:
    model = params.fresh_model(task, 0)
    layout = params.layout_of(model)
    before = params.arrays_of(model, layout)
    parts = [WeightedUpdate(w, partial(dict, u)) for w, u in zip(weights, updates, strict=True)]
    return contribution.contributions(task, model, layout, before, parts, data())


def moves(*rows: list[float]) -> list[dict[str, Any]]:
    return [{"weight": np.asarray([row], np.float32)} for row in rows]


finite = st.floats(-2, 2, width=32)


@given(
    st.lists(st.lists(finite, min_size=3, max_size=3), min_size=1, max_size=5),
    st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5),
)
def test_values_add_up_to_the_drop_of_a_quadratic_loss(rows: list[list[float]], weights: list[float]) -> None:
    found = valued(Squares(), moves(*rows), weights[: len(rows)])
    assert sum(found.values) == pytest.approx(found.before - found.after, rel=1e-3, abs=1e-3)
    assert found.examples == 60


def test_an_update_of_zeros_is_worth_exactly_zero_and_equal_ones_the_same() -> None:
    found = valued(Squares(), moves([0.1, -0.2, 0.0], [0, 0, 0], [0.1, -0.2, 0.0]), [0.4, 0.3, 0.4])
    assert found.values[1] == 0.0
    assert str(found.values[1]) == "0.0"
    assert found.values[0] == found.values[2] > 0.0
    assert valued(Squares(), moves([-0.1, 0.2, 0.0]), [1.0]).values[0] < 0.0


def test_a_model_in_training_mode_is_valued_as_it_is_used() -> None:
    """Dropout is off, statistics stay and earn nothing; the model's own statistics are not touched."""
    model = params.fresh_model(Normed(), 0)
    layout = params.layout_of(model)
    before = params.arrays_of(model, layout)
    model.train()
    still = {s.name: np.zeros(s.shape, s.dtype) for s in layout.tensors}
    shifted = {**still, "1.running_mean": np.ones(4, np.float32)}
    parts = [WeightedUpdate(0.5, partial(dict, u)) for u in (still, shifted)]
    found = contribution.contributions(Normed(), model, layout, before, parts, data())
    assert found.values == (0.0, 0.0)
    assert found.before != found.after
    assert found == contribution.contributions(Normed(), model, layout, before, parts, data())


def test_what_cannot_be_valued_is_said() -> None:
    with pytest.raises(TaskFault, match="not finite"):
        valued(Squares(), moves([3e38, 3e38, 0.0]), [1.0])
    with pytest.raises(TensorError, match="shape"):
        valued(Squares(), [{"weight": np.zeros((2, 3), np.float32)}], [1.0])


def test_the_work_can_be_stopped_between_batches() -> None:
    model = params.fresh_model(Squares(), 0)
    layout = params.layout_of(model)
    before = params.arrays_of(model, layout)

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        contribution.contributions(Squares(), model, layout, before, [], data(), stop)


@given(st.integers(0, 50), st.integers(0, 60))
def test_a_sample_is_spread_over_all_of_the_data(count: int, limit: int) -> None:
    whole = as_arrays((torch.arange(float(count)), torch.arange(count)), "data")
    chosen = whole.sample(limit).y.tolist()
    assert len(chosen) == len(set(chosen)) == min(count, limit)
    if 1 < limit < count:
        gaps = np.diff(chosen)
        assert max(gaps) - min(gaps) <= 1


def test_exact_shapley_of_a_game_known_by_heart() -> None:
    """Two gloves: 0 and 1 have a left one each, 2 has the right one; a pair is worth 1."""
    game = {s: float(bool(s & 4) and bool(s & 3)) for s in range(8)}
    assert bench("contribution").shapley(game, 3) == pytest.approx([1 / 6, 1 / 6, 2 / 3])
    assert bench("contribution").spearman([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)


@pytest.mark.parametrize("split", ["iid", "dirichlet:1"])
def test_values_tell_harm_idleness_and_equal_data_apart_on_digits(split: str) -> None:
    """The figures that docs/notes/2026-11-23-contributions.md has for MNIST, in small."""
    b = bench("contribution")
    run = b.play(Digits(), b.RECIPES["digits"], split, rounds=4, seed=0, examples=180)
    total = np.sum(run.first_order, axis=0)
    assert total.argmin() == b.ROLES.index("flipped")
    assert total[b.ROLES.index("idle")] == 0.0
    assert b.apart(total[4], total[5]) < 0.1
    assert total.sum() == pytest.approx(np.sum(run.drops), rel=0.1)


def test_values_rank_nodes_as_exact_shapley_does_on_digits() -> None:
    b = bench("contribution")
    run = b.play(Digits(), b.RECIPES["digits"], "classes:2", rounds=2, seed=1, examples=90, exact_every=1)
    each = [b.spearman(a, e) for a, e in zip(run.first_order, run.fixed, strict=True)]
    assert np.mean(each) >= 0.8
