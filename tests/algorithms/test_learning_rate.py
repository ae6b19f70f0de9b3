from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.algorithms.learning_rate import learning_rate
from muster.protocol.parts import Recipe


def recipe(lr_end: float) -> Recipe:
    return Recipe(0.1, 16, 20, 0, lr_end=lr_end)


def test_a_rate_is_constant_unless_asked_to_fall() -> None:
    assert [learning_rate(recipe(1.0), n, 100) for n in (1, 50, 100)] == [0.1] * 3
    assert learning_rate(recipe(0.1), 50, None) == 0.1


def test_it_falls_along_a_cosine() -> None:
    assert learning_rate(recipe(0.1), 1, 100) == 0.1
    assert learning_rate(recipe(0.1), 51, 100) == pytest.approx(0.055)
    assert learning_rate(recipe(0.1), 101, 100) == pytest.approx(0.01)
    assert learning_rate(recipe(0.1), 500, 100) == pytest.approx(0.01)


@given(st.floats(0, 1), st.integers(1, 500), st.integers(1, 500))
def test_it_never_rises(lr_end: float, round_: int, rounds: int) -> None:
    here, next_ = (learning_rate(recipe(lr_end), n, rounds) for n in (round_, round_ + 1))
    assert 0 <= next_ <= here <= 0.1 * (1 + 1e-12)
