from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.adaptation.blocks import BLOCK, REFERENCE_BLOCKS, Blocks
from muster.adaptation.input_sketch import InputNoticing, statistics
from muster.adaptation.noticing import Noticing

REFERENCE = BLOCK * REFERENCE_BLOCKS


def certain(count: int, seed: int, mean: float = 0.05) -> list[float]:
    """Entropies as a sure classifier has them: mostly small, a few large."""
    return [float(v) for v in np.random.default_rng(seed).exponential(mean, count)]


def in_runs(count: int, seed: int) -> list[float]:
    """As a camera makes them: about 50 of one class in a row, and some classes are less certain."""
    rng = np.random.default_rng(seed)
    found: list[float] = []
    while len(found) < count:
        mean = rng.choice([0.02, 0.03, 0.05, 0.1])
        found += rng.exponential(mean, 1 + rng.geometric(1 / 50)).tolist()
    return found[:count]


@pytest.mark.parametrize("seed", range(5))
def test_uncertain_answers_are_noticed_within_150(seed: int) -> None:
    watch = Noticing()
    assert watch.see_all(certain(3000, seed)) == []
    changed = certain(150, seed + 100, mean=0.2)
    found = [at for at, value in enumerate(changed, 1) if watch.see(value)]
    assert len(found) == 1  # and then a new reference begins
    assert found[0] in (25, 50, 75, 100, 125, 150)
    assert not watch.ready


def test_a_small_change_is_seen_in_the_mean_of_400() -> None:
    delays = []
    for seed in range(8):
        watch = Noticing()
        assert watch.see_all(certain(4000, seed)) == []
        delays += [next(at for at, v in enumerate(certain(3000, seed + 50, mean=0.068), 1) if watch.see(v))]
    assert np.median(delays) <= 400
    assert max(delays) <= 1000


def test_more_certain_answers_are_noticed_too() -> None:
    watch = Noticing()
    watch.see_all(certain(2000, 1, mean=0.5))
    [alarm] = watch.see_all([0.001] * 100)
    assert alarm.z < -6
    assert alarm.what == "the answers are more certain"


@pytest.mark.parametrize("make", [certain, in_runs])
def test_few_false_alarms(make: Callable[[int, int], list[float]]) -> None:
    alarms = sum(len(Noticing().see_all(make(10_000, seed))) for seed in range(30))
    assert alarms <= 6  # 0.2 in 10,000


def test_nothing_is_said_before_the_reference_is_complete() -> None:
    watch = Noticing()
    assert watch.see_all([0.01] * 500 + [2.0] * 499) == []
    assert not watch.ready
    watch.see(0.01)
    assert watch.ready


def test_a_swap_begins_a_new_reference() -> None:
    watch = Noticing()
    watch.see_all(certain(2000, 0))
    watch.reset()
    assert watch.see_all(certain(2000, 1, mean=0.5)) == []


@pytest.mark.parametrize("odd", [math.nan, math.inf, -1.0])
def test_answers_that_are_no_numbers_are_noticed(odd: float) -> None:
    watch = Noticing()
    watch.see_all(certain(1500, 0))
    assert [alarm.z > 0 for alarm in watch.see_all([odd] * 100)] == [True]
    assert Noticing().see_all([odd] * 5000) == []  # it was never otherwise


def test_a_model_that_is_always_sure() -> None:
    watch = Noticing()
    assert watch.see_all([0.0] * 2000 + [-1e-9] * 500 + [0.001] * 500) == []
    assert len(watch.see_all([0.1] * 100)) == 1


@given(st.integers(0, 4000), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_a_restart_changes_nothing(cut: int, seed: int) -> None:
    values = certain(3000, seed) + certain(1000, seed, mean=0.3)
    whole, first, second = Noticing(), Noticing(), Noticing()
    before = first.see_all(values[:cut])
    second.take_up(json.loads(json.dumps(first.state())))
    assert whole.see_all(values) == before + second.see_all(values[cut:])


GOOD = {"sum": 0.0, "count": 0, "reference": [], "later": []}


@pytest.mark.parametrize(
    "odd",
    [
        {"count": 25},
        {"count": -1},
        {"count": True},
        {"sum": math.nan},
        {"sum": 3.0},
        {"sum": "x"},
        {"reference": [[1.0]] * 161},
        {"reference": [[math.nan]]},
        {"reference": [["x"]]},
        {"later": [[1.0]]},
        {"reference": [[1.0]] * 40, "later": [[1.0]] * 41},
        {"later": None},
    ],
)
def test_a_broken_state_is_refused_and_changes_nothing(odd: dict[str, Any]) -> None:
    watch = Noticing()
    watch.see_all(certain(1100, 0))
    before = watch.state()
    with pytest.raises(ValueError, match=r"state|blocks"):
        watch.take_up({**GOOD, **odd})
    assert watch.state() == before
    watch.take_up(GOOD)
    assert not watch.ready


def test_blocks_of_several_series() -> None:
    rng, blocks = np.random.default_rng(0), Blocks(3)
    for _ in range(REFERENCE_BLOCKS):
        assert blocks.add(rng.normal(size=3)) is None
    for _ in range(3):
        assert blocks.add(np.array([0.0, 5.0, 0.0])) is None
    z = blocks.add(np.array([0.0, 5.0, 0.0]))
    assert z is not None
    assert z[1] > 6
    assert np.abs(z[[0, 2]]).max() < 3


# The second look


def test_statistics_of_small_and_large_samples() -> None:
    readings = np.arange(12.0).reshape(4, 3)
    assert np.array_equal(statistics(readings), readings)
    images = np.zeros((2, 28, 28), np.uint8)
    images[1, :, ::2] = 200
    assert statistics(images).tolist() == [[0, 0, 0, 0], [100, 100, 200, 0]]
    assert statistics(np.array([[math.nan, 1.0], [-math.inf, 2.0]])).tolist() == [[1e12, 1.0], [-1e12, 2.0]]
    assert statistics(np.zeros((0, 28, 28))).shape == (0, 4)
    assert statistics(np.zeros((2, 0))).shape == (2, 4)
    assert statistics(np.arange(3.0)).shape == (3, 1)
    assert statistics(np.full((2, 5, 5), math.nan)).shape == (2, 4)
    assert statistics(np.ones((2, 50))).tolist() == [[1, 0, 0, 0]] * 2


def test_a_sensor_that_drifts_is_named() -> None:
    rng, watch = np.random.default_rng(0), InputNoticing()
    assert watch.see(rng.normal(20, 2, (3000, 5))) is None
    later = rng.normal(20, 2, (150, 5))
    later[:, 2] += 6
    alarm = watch.see(later)
    assert alarm is not None
    assert alarm.what == "number 3 of the inputs rose"


def test_four_readings_are_not_taken_for_an_image() -> None:
    rng, watch = np.random.default_rng(0), InputNoticing()
    watch.see(rng.normal(0, 1, (1000, 4)))
    alarm = watch.see(rng.normal([0, -3, 0, 0], 1, (200, 4)))
    assert alarm is not None
    assert alarm.what == "number 2 of the inputs fell"


def test_darker_images_are_noticed() -> None:
    rng, watch = np.random.default_rng(0), InputNoticing()
    assert watch.see(rng.integers(0, 256, (2000, 8, 8))) is None
    alarm = watch.see(rng.integers(0, 160, (100, 8, 8)))
    assert alarm is not None
    assert "of the inputs fell" in alarm.what


def test_inputs_without_change_raise_few_alarms() -> None:
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(10):
        watch = InputNoticing()
        x = rng.normal(0, 1, (10_000, 16)) + np.repeat(rng.normal(0, 1, (200, 16)), 50, axis=0)
        alarms += sum(watch.see(x[at : at + 100]) is not None for at in range(0, len(x), 100))
    assert alarms <= 2


def test_a_reading_that_never_changes_is_no_alarm() -> None:
    watch = InputNoticing()
    assert watch.see(np.tile([0.1, 1e9, 0.0], (4000, 1))) is None


def test_the_second_look_survives_a_restart_and_another_shape() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (1510, 4))
    x[1200:] += 1.5
    whole, first, second = InputNoticing(), InputNoticing(), InputNoticing()
    first.see(x[:1110])
    second.take_up(json.loads(json.dumps(first.state())))
    assert second.see(x[1110:]) == whole.see(x)
    assert whole.see(rng.normal(0, 1, (30, 8))) is None
    empty = InputNoticing()
    empty.take_up(InputNoticing().state())
    for odd in ({"count": 1, "sum": "x"}, {"count": 99, "sum": []}, {"count": 0, "sum": [math.nan]}):
        with pytest.raises(ValueError, match="the state has no sound"):
            empty.take_up(odd)
