"""The simulation with which the default recipes were chosen (bench/), and the baselines of a report."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from toys import Plain, bench, data

from muster.algorithms import splits
from muster.algorithms.merging import mean
from muster.learning import baselines, params
from muster.learning.evaluation import evaluate
from muster.protocol.parts import Recipe

simulation = bench("local_simulation")


def test_it_learns_from_skewed_parts_and_repeats() -> None:
    whole = data()
    parts = [whole.at(i) for i in splits.split(whole.y.numpy(), "classes:1", 3, 0)]
    recipe = Recipe(lr=0.1, batch=16, steps=5, seed=2, server_momentum=0.5)
    conditions = simulation.Conditions((0.0, 0.3, 0.0), (1.0, 1.0, 0.25))
    one, two = (simulation.simulate(Plain(), parts, whole, recipe, 12, conditions) for _ in range(2))
    assert one == two
    assert max(m.accuracy for m in one.curve) > 0.9
    assert one.closing == one.curve[-1]
    found = baselines.compare(Plain(), parts, whole, recipe, [40, 40, 10])
    assert found.alone[found.best]["accuracy"] < 0.6  # two of three classes are unknown to it
    assert found.pooled["accuracy"] > 0.9
    assert found.pooled_steps == 40


def test_an_update_of_a_node_that_left_comes_late() -> None:
    """One node alone that goes whenever it has begun: each update comes a round later."""
    conditions = simulation.Conditions((1.0,), (1.0,), (1, 1))
    recipe = Recipe(lr=0.1, batch=16, steps=5, seed=2)
    assert conditions.leaving(0) == 1.0
    runs = list(simulation.models(Plain(), [data()], recipe, 4, conditions))
    start = params.arrays_of(params.fresh_model(Plain(), 2), params.layout_of(Plain().model()))
    same = [np.array_equal(a["weight"], b["weight"]) for a, b in pairwise([start, *runs])]
    assert same == [True, False, False, False]


def test_absence_is_the_share_that_was_asked_for() -> None:
    """Cycles of an absence (mean length) and the rounds before the next one (geometric, from 0)."""
    conditions = simulation.FIELD_8
    length = sum(conditions.away) / 2
    for node, share in enumerate(conditions.absence):
        leaving = conditions.leaving(node)
        assert leaving * length / (leaving * length + 1.0 - leaving) == pytest.approx(share)


def test_the_closing_model_is_the_mean_of_the_last() -> None:
    whole = data()
    recipe = Recipe(lr=0.1, batch=16, steps=5, seed=2, average=3)
    conditions = simulation.Conditions((0.0,), (1.0,))
    runs = list(simulation.models(Plain(), [whole], recipe, 5, conditions))
    layout = params.layout_of(Plain().model())
    model = Plain().model()
    expected = {k: np.mean([r[k].astype(np.float64) for r in runs[-3:]], axis=0) for k in runs[0]}
    found = mean(layout, reversed(runs[-3:]))
    assert all(np.allclose(found[k], expected[k], atol=1e-6) for k in expected)
    params.load_into(model, layout, found)
    closing = simulation.simulate(Plain(), [whole], whole, recipe, 5, conditions).closing
    assert closing == evaluate(Plain(), model, whole)
