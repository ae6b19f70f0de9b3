from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.adaptation.likeness import BYTES_MAX, SAMPLES_MIN, Reference, alike, distance, sketch, sound

RNG = np.random.default_rng(0)
CLEAN = RNG.normal(5, 2, (500, 98))
REFERENCE = Reference.of(CLEAN)


def seen(shift: float, count: int = 100, seed: int = 1) -> bytes:
    return sketch(np.random.default_rng(seed).normal(5 + shift, 2, (count, 98)), REFERENCE)


def test_a_sketch_is_small_and_says_how_far_off() -> None:
    assert len(seen(0)) == 196
    assert distance(seen(0), seen(0, seed=2)) < 0.2
    assert distance(seen(0), seen(2)) == pytest.approx(
        np.arcsinh(1.0), abs=0.1
    )  # one deviation of the reference
    assert alike(seen(2), seen(2, seed=3))
    assert not alike(seen(0), seen(2))


def test_what_is_far_off_may_scatter_more() -> None:
    """As inverted images do: 20 deviations off, and 1 more or less."""
    far, farther = (np.full((40, 98), 5.0 + off) for off in (40, 42))
    one, other = sketch(far, REFERENCE), sketch(farther, REFERENCE)
    assert np.abs(np.frombuffer(one, "<f2") - np.frombuffer(other, "<f2")).mean() > 0.9
    assert alike(one, other)
    assert not alike(one, sketch(far + 60, REFERENCE))


def test_too_few_samples_make_no_sketch() -> None:
    assert seen(0, SAMPLES_MIN - 1) == b""
    assert seen(0, SAMPLES_MIN) != b""
    odd = np.full((50, 98), math.nan)
    assert sketch(odd, REFERENCE) == b""
    odd[:SAMPLES_MIN] = 5.0
    assert distance(sketch(odd, REFERENCE), sketch(odd[:SAMPLES_MIN], REFERENCE)) == 0
    assert sketch(np.zeros((50, 97)), REFERENCE) == b""
    assert sketch(np.zeros((0, 98)), REFERENCE) == b""


def test_features_that_never_change_and_huge_ones() -> None:
    features = np.column_stack([np.full(100, 3.0), RNG.normal(0, 1, 100), RNG.normal(0, 1e9, 100)])
    reference = Reference.of(features)
    far = features + np.array([100.0, 1e30, 0.0])
    found = sketch(far, reference)
    assert sound(found)
    assert np.frombuffer(found, "<f2")[0] == 0.0  # it says nothing, and does not drown the others
    assert np.isfinite(distance(found, sketch(features, reference)))


@pytest.mark.parametrize(
    ("mean", "deviation"),
    [([], []), ([1.0], [1.0, 2.0]), ([math.nan], [1.0]), ([1.0], [math.inf]), ([1.0], [-1.0]),
     ([0.0] * 129, [1.0] * 129)],
)  # fmt: skip
def test_an_odd_reference_is_refused(mean: list[float], deviation: list[float]) -> None:
    with pytest.raises(ValueError, match="a reference"):
        Reference(np.array(mean), np.array(deviation))


def test_a_reference_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        Reference.of(np.full((3, 2), math.nan))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_have_a_distance(one: bytes, other: bytes) -> None:
    assert distance(one, other) >= 0
    assert distance(one, other) == distance(other, one)
    if not sound(one) or len(one) != len(other):
        assert distance(one, other) == math.inf
    else:
        assert distance(one, one) == 0


@pytest.mark.parametrize("odd", [b"", b"a", bytes(BYTES_MAX + 2), b"\x00\x7c", b"\xff\xff"])
def test_what_is_no_sketch(odd: bytes) -> None:
    assert not sound(odd)
    assert not alike(odd, odd)
