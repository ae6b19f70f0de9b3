"""Tasks of any framework: what they may return, and what their updates were worth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from muster.algorithms.contribution import WeightedUpdate
from muster.compression.tensors import DTYPES
from muster.learning.arrays import array_task
from muster.learning.arrays.baselines import compare
from muster.learning.arrays.contribution import contributions
from muster.learning.faults import TaskFault
from muster.learning.task import FitRecipe, Task
from muster.protocol.parts import Recipe

GOAL = np.array([3.0, -1.0], np.float32)


class Point(Task):
    """Moves `w` towards a goal; the loss is the squared distance. `count` counts the calls."""

    name = "point"
    statistics = ("mean*",)

    def initial(self, seed: int) -> dict[str, Any]:
        return {"w": np.zeros(2, np.float32), "mean_w": np.ones(2, np.float32), "count": np.array(0)}

    def fit(
        self, arrays: dict[str, Any], steps: int, seed: int
    ) -> tuple[dict[str, Any], int, dict[str, Any]]:
        arrays["w"] += steps * self.recipe.lr * (GOAL - arrays["w"])
        arrays["count"] = arrays["count"] + steps
        return arrays, 10, {"loss": 0.25}

    def measure(self, arrays: dict[str, Any]) -> dict[str, tuple[float, float]]:
        return {"loss": (10 * float(((arrays["w"] - GOAL) ** 2).sum()), 10), "accuracy": (0, 0)}


def test_fit_trains_copies_and_keeps_names_shapes_and_types() -> None:
    task = Point()
    start = array_task.initial(task, 0)
    layout = array_task.layout_of(task, start)
    assert [(t.name, t.learnt) for t in layout.tensors] == [("w", True), ("mean_w", False), ("count", False)]
    for array in start.values():
        array.flags.writeable = False
    fitted = array_task.fit(task, layout, start, FitRecipe(lr=0.1), 5, 0)
    assert np.array_equal(start["w"], [0, 0])
    assert np.allclose(fitted.arrays["w"], GOAL / 2)
    assert (int(fitted.arrays["count"]), fitted.examples, fitted.loss) == (5, 10, 0.25)
    assert {n: a.dtype.name for n, a in fitted.arrays.items()} == {s.name: s.dtype for s in layout.tensors}
    assert array_task.measure(task, fitted.arrays) == {"loss": (pytest.approx(25.0), 10.0)}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (None, "must return"),
        (({"w": [1.0, 2.0]}, 1, {}), "'count' is in one of them only"),
        (({"w": [1.0], "mean_w": [1.0, 1.0], "count": 1}, 1, {}), "shape"),
        (({"w": [1j, 0], "mean_w": [1.0, 1.0], "count": 1}, 1, {}), "complex"),
        (({"w": [1.0, 2.0], "mean_w": [1.0, 1.0], "count": 0.5}, 1, {}), "float64"),
        (({"w": [1.0, 2.0], "mean_w": [1.0, 1.0], "count": 1}, -1, {}), "number of samples"),
        (({"w": [1.0, 2.0], "mean_w": [1.0, 1.0], "count": 1}, 1, []), "third value"),
        (({"w": [1.0, 2.0], "mean_w": [1.0, 1.0], "count": 1}, 1, {"loss": "low"}), "use a number"),
    ],
)
def test_what_fit_must_not_return_is_named(result: Any, said: str) -> None:
    class Wrong(Point):
        def fit(self, arrays: dict[str, Any], steps: int, seed: int) -> Any:
            return result

    start = array_task.initial(Wrong(), 0)
    with pytest.raises(TaskFault, match=said):
        array_task.fit(Wrong(), array_task.layout_of(Wrong(), start), start, FitRecipe(), 1, 0)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ([], "dict of name"),
        ({}, "dict of name"),
        ({1: [0.0]}, "with text"),
        ({"w": ["a"]}, "use one of"),
        ({"w": [math.nan]}, "not finite"),
        ({"w": [1]}, "nothing to train"),
    ],
)
def test_what_initial_must_not_return_is_named(start: Any, said: str) -> None:
    class Wrong(Point):
        def initial(self, seed: int) -> Any:
            return start

    assert "float32" in DTYPES
    with pytest.raises(TaskFault, match=said):
        array_task.layout_of(Wrong(), array_task.initial(Wrong(), 0))


@pytest.mark.parametrize(
    "figures", [[], {"loss": 1.0}, {"loss": (1.0, "two")}, {"loss": (1.0, -2)}, {3: (1, 1)}]
)
def test_what_measure_must_not_return_is_named(figures: Any) -> None:
    class Wrong(Point):
        def measure(self, arrays: dict[str, Any]) -> Any:
            return figures

    with pytest.raises(TaskFault, match="measure"):
        array_task.measure(Wrong(), {})


def test_values_add_up_to_the_drop_and_an_update_away_from_the_goal_costs() -> None:
    """The loss is quadratic, so that the central difference is exact: -p <grad F(m), Delta>."""
    task = Point()
    start = array_task.initial(task, 0)
    layout = array_task.layout_of(task, start)
    still = {"mean_w": np.zeros(2, np.float32), "count": np.array(0)}
    moves = [np.array(m, np.float32) for m in ([2.0, 0.0], [-1.0, 0.5], [0.0, 0.0])]
    updates = [WeightedUpdate(0.5, lambda m=m: {"w": m, **still}) for m in moves]  # type: ignore[misc]
    found = contributions(task, layout, start, updates)
    middle = 0.25 * sum(moves)
    expected = [-0.5 * float(np.dot(2 * (middle - GOAL), m)) for m in moves]
    assert found.values == pytest.approx(expected, rel=1e-5)
    assert found.values[0] > 0 > found.values[1]
    assert found.values[2] == 0.0
    assert sum(found.values) == pytest.approx(found.before - found.after, rel=1e-5)
    assert found.examples == 10


def test_a_task_without_a_loss_gets_no_values() -> None:
    class Silent(Point):
        def measure(self, arrays: dict[str, Any]) -> dict[str, tuple[float, float]]:
            return {"accuracy": (1, 2)}

    start = array_task.initial(Silent(), 0)
    with pytest.raises(TaskFault, match="no contributions"):
        contributions(Silent(), array_task.layout_of(Silent(), start), start, [])


def test_baselines_of_one_node_alone_and_of_all_data_in_one_place() -> None:
    class Shared(Point):
        measures_common = True

        def measure(self, arrays: dict[str, Any]) -> dict[str, tuple[float, float]]:
            return {"loss": (float(((arrays["w"] - GOAL) ** 2).sum()) / self.parts, 1)}

    def task_of(part: int, parts: int) -> Task:
        return Shared(part=part, parts=parts)

    recipe = Recipe(lr=0.1, batch=1, steps=5, seed=0)
    found = compare(task_of, 2, recipe, [0, 5])
    assert [figures["loss"] for figures in found.alone] == pytest.approx([10 / 2, 2.5 / 2])
    assert found.pooled["loss"] == pytest.approx(2.5)
    assert (found.best, found.pooled_steps) == (1, 5)
    with pytest.raises(TaskFault, match="no common evaluation set"):
        compare(lambda part, parts: Point(part=part, parts=parts), 2, recipe, [1, 1])
