from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors import KINDS, NAMES, make

from muster.compression import CodecError, decode, feedback, parse
from muster.compression import model as m
from muster.compression.tensors import Layout, TensorSpec


@dataclass(frozen=True)
class Step:
    """What the product's `encode_with_feedback` makes of a model whose flat vector is `delta`."""

    message: bytes
    decoded: np.ndarray
    residual: np.ndarray


def step(name, delta, old, seed):
    """Two tensors, so that the flat vector is put together and taken apart."""
    cut = delta.size // 3
    layout = Layout((TensorSpec("a", (cut,), "float32"), TensorSpec("b", (delta.size - cut,), "float32")))
    kept = None if old is None else old.copy()
    sent = m.encode_with_feedback(parse(name), layout, {"a": delta[:cut], "b": delta[cut:]}, old, seed)
    assert old is None or old.tobytes() == kept.tobytes()
    return Step(sent.message, np.concatenate((sent.decoded["a"], sent.decoded["b"])), sent.residual)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.sampled_from([k for k in KINDS if k not in ("extreme", "mixed")]),
    st.sampled_from((0, 1, 1025)),
    st.integers(0, 20),
)
def test_message_and_residual_are_delta_and_old_residual(name, kind, size, seed):
    delta, old = make(kind, size, seed), make("normal", size, seed + 1)
    wanted = delta + old
    sent = step(name, delta, old, seed)
    assert sent.decoded.tobytes() == decode(sent.message, size).tobytes()
    assert sent.residual.dtype == np.float32
    got = sent.decoded.astype(np.float64) + sent.residual
    assert (np.abs(got - wanted) <= np.spacing(np.abs(sent.residual)) / 2).all()
    untouched = sent.decoded == 0
    assert (sent.residual[untouched] == wanted[untouched]).all()


def test_nothing_is_lost_over_many_rounds():
    left = None
    total, received = np.zeros(2000), np.zeros(2000)
    for number in range(300):
        delta = make("normal", 2000, number)
        sent = step("stc:0.02", delta, left, number)
        left = sent.residual
        total += delta
        received += sent.decoded
    assert np.abs(total - received - left).max() < 1e-3
    assert feedback.norm(left) < 60 * feedback.norm(make("normal", 2000, 0))  # it does not run away


def test_a_hand_over_brings_the_downlink_residual_back_in_full():
    up, down = make("normal", 100, 1), make("normal", 100, 2)
    handed = feedback.hand_over(up, down, 0.25)
    assert np.allclose(0.25 * handed, 0.25 * up + down, atol=1e-6)
    assert np.allclose(0.5 * feedback.hand_over(None, down, 0.5), down)
    with pytest.raises(CodecError, match="share"):
        feedback.hand_over(up, down, 0.0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(CodecError, match="does not fit"):
        feedback.hand_over(make("normal", 5, 0), make("normal", 6, 0), 1.0)
    with pytest.raises(CodecError, match="does not fit"):
        step("stc:0.1", make("normal", 5, 0), make("normal", 6, 0), 0)
    big = np.full(3, 3e38, np.float32)
    with pytest.raises(CodecError, match="diverged"):
        feedback.hand_over(big, big, 0.5)
    with pytest.raises(CodecError, match="diverged"):
        step("stc:0.1", big, big, 0)


def test_norm():
    assert feedback.norm(None) == 0.0
    assert feedback.norm(np.full(200_000, 2.0, np.float32)) == pytest.approx(2 * 200_000**0.5)
