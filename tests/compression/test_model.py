from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors import NAMES

from muster.compression import CodecError, parse
from muster.compression import model as m
from muster.compression.buffers import weights
from muster.compression.change import add, difference
from muster.compression.tensors import Layout, TensorSpec, check

PLAIN = Layout((TensorSpec("conv.weight", (8, 1, 5, 5), "float32"), TensorSpec("conv.bias", (8,), "float32")))
FULL = Layout(
    (
        TensorSpec("embed.weight", (500, 16), "float32"),
        TensorSpec("norm.weight", (16,), "float32"),
        TensorSpec("norm.moving_mean", (16,), "float32", learnt=False),  # no name that anybody would know
        TensorSpec("norm.moving_var", (16,), "float64", learnt=False),
        TensorSpec("norm.num_batches_tracked", (), "int64", learnt=False),
        TensorSpec("mask", (5,), "bool", learnt=False),
        TensorSpec("histogram", (4,), "uint8", learnt=False),
        TensorSpec("fc.weight", (10, 16), "float16"),
        TensorSpec("fc.wide", (3,), "float64"),
    ),
    (("decoder.weight", "embed.weight"),),
)


def arrays(layout, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    made = {}
    for spec in layout.tensors:
        x = rng.standard_normal(spec.shape) * scale
        if spec.name.endswith("_var"):
            x = np.exp(4 * x)  # a variance, over four decades
        elif spec.dtype == "bool":
            x = x > 0
        elif not spec.floating:
            x = rng.integers(0, 200, spec.shape)
        made[spec.name] = np.asarray(x).astype(spec.dtype)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_weights_costs_no_extra_byte(name):
    update = arrays(PLAIN, 0)
    codec = parse(name)
    message = m.encode_update(codec, PLAIN, update, 3)
    assert message == codec.encode(m.flatten(PLAIN, update), np.random.default_rng(3))
    assert {k: v.shape for k, v in m.decode_update(PLAIN, message).items()} == {
        s.name: s.shape for s in PLAIN.tensors
    }


@pytest.mark.parametrize("name", NAMES)
def test_buffers_statistics_and_tied_tensors_arrive(name):
    base, new = arrays(FULL, 1), arrays(FULL, 2)
    update = difference(FULL, base, new)
    got = m.decode_update(FULL, m.encode_update(parse(name), FULL, update, 0))
    assert list(got) == [spec.name for spec in FULL.tensors]  # the tied tensor once
    rebuilt = add(FULL, base, got)
    for key in ("norm.moving_mean", "norm.moving_var"):
        assert np.allclose(rebuilt[key], new[key], rtol=2**-11, atol=1e-9)
    for key in ("norm.num_batches_tracked", "mask", "histogram"):
        assert rebuilt[key].tolist() == new[key].tolist()
    assert {k: (v.dtype.name, v.shape) for k, v in rebuilt.items()} == {
        s.name: (s.dtype, s.shape) for s in FULL.tensors
    }


def test_dense32_rebuilds_the_new_model():
    base, new = arrays(FULL, 1, 0.5), arrays(FULL, 2, 0.5)
    got = m.decode_update(FULL, m.encode_update(parse("dense32"), FULL, difference(FULL, base, new)))
    rebuilt = add(FULL, base, got)
    for spec in FULL.tensors:
        assert np.allclose(rebuilt[spec.name], new[spec.name], rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("after", [2.0**-14, 1e-9, 3e5])
def test_a_variance_stays_one_however_far_it_went_in_one_round(name, after):
    """As a difference in fp16, 1 -> 2**-14 came out as 0 or below."""
    base, new = arrays(FULL, 1), arrays(FULL, 2)
    base["norm.moving_var"][:] = 1.0
    new["norm.moving_var"][:] = after
    message = m.encode_update(parse(name), FULL, difference(FULL, base, new), 0)
    rebuilt = add(FULL, base, m.decode_update(FULL, message))
    assert rebuilt["norm.moving_var"] == pytest.approx(new["norm.moving_var"], rel=2**-11)


def test_a_statistic_that_did_not_change_costs_a_byte_and_stays_to_the_bit():
    base, new = arrays(FULL, 1), arrays(FULL, 2)
    whole = m.encode_update(parse("dense32"), FULL, difference(FULL, base, new))
    new["norm.moving_var"] = base["norm.moving_var"].copy()
    less = m.encode_update(parse("dense32"), FULL, difference(FULL, base, new))
    assert len(less) == len(whole) - 2 * 16
    rebuilt = add(FULL, base, m.decode_update(FULL, less))
    assert rebuilt["norm.moving_var"].tobytes() == base["norm.moving_var"].tobytes()


@pytest.mark.parametrize("name", ["dense32", "dense16", "quant8", "quant4", "stc:0.02", "topk:0.02"])
def test_untouched_rows_cost_nothing(name):
    def size(rows):
        layout = Layout((TensorSpec("e", (rows, 32), "float32"), TensorSpec("w", (10, 32), "float32")))
        update = {"e": np.zeros((rows, 32), np.float32), "w": np.ones((10, 32), np.float32)}
        update["e"][[3, 77]] = np.random.default_rng(0).standard_normal((2, 32))
        message = m.encode_update(parse(name), layout, update)
        got = m.decode_update(layout, message)
        assert set(np.flatnonzero(got["e"].any(axis=1)).tolist()) <= {3, 77}
        return len(message)

    small = size(100)
    assert size(100_000) <= small + 12
    assert small <= parse(name).estimate_bytes(2 * 32 + 320) + 16


def test_error_feedback_covers_the_weights_alone():
    update = arrays(FULL, 1)
    first = m.encode_with_feedback(parse("stc:0.05"), FULL, update, None, 0)
    assert first.residual.size == weights(FULL)
    wanted = m.flatten(FULL, update)
    assert np.array_equal(m.flatten(FULL, first.decoded) + first.residual, wanted) or np.allclose(
        m.flatten(FULL, first.decoded) + first.residual, wanted, atol=1e-6
    )
    again = m.decode_update(FULL, first.message)
    assert all(again[k].tobytes() == first.decoded[k].tobytes() for k in again)
    second = m.encode_with_feedback(parse("stc:0.05"), FULL, update, first.residual, 1)
    assert np.allclose(m.flatten(FULL, second.decoded) + second.residual, wanted + first.residual, atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(NAMES), st.sampled_from((PLAIN, FULL)), st.booleans(), st.data())
def test_corrupted_messages_give_the_right_shapes_or_a_sentence(name, layout, sparse_rows, data):
    update = arrays(layout, 0)
    if sparse_rows and layout is FULL:
        update["embed.weight"][5:] = 0
    message = bytearray(m.encode_update(parse(name), layout, update))
    for _ in range(data.draw(st.integers(1, 3))):
        spot = data.draw(st.integers(0, min(len(message) - 1, data.draw(st.sampled_from((15, 150, 10**6))))))
        message[spot] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(message)))
    for damaged in (bytes(message), bytes(message[:cut])):
        try:
            got = m.decode_update(layout, damaged)
        except CodecError:
            continue
        assert {k: v.shape for k, v in got.items()} == {s.name: s.shape for s in layout.tensors}
        check(layout.changes, got)


@pytest.mark.parametrize("name", NAMES)
def test_truncated_messages_are_refused(name):
    message = m.encode_update(parse(name), FULL, arrays(FULL, 0))
    for cut in range(0, len(message), max(1, len(message) // 200)):
        with pytest.raises(CodecError):
            m.decode_update(FULL, message[:cut])


def test_a_message_for_another_kind_of_model_is_refused():
    plain = m.encode_update(parse("stc:0.1"), PLAIN, arrays(PLAIN, 0))
    full = m.encode_update(parse("stc:0.1"), FULL, arrays(FULL, 0))
    with pytest.raises(CodecError, match="does not fit"):
        m.decode_update(FULL, plain)
    with pytest.raises(CodecError, match="does not fit"):
        m.decode_update(PLAIN, full)
    with pytest.raises(CodecError, match=r"conv\.bias"):
        m.encode_update(parse("dense32"), PLAIN, {"conv.weight": arrays(PLAIN, 0)["conv.weight"]})


def test_updates_that_leave_the_range_are_refused():
    layout = Layout((TensorSpec("w", (2,), "float16"),))
    with pytest.raises(CodecError, match="infinite"):
        add(layout, {"w": np.full(2, 6e4, np.float16)}, {"w": np.full(2, 6e4, np.float32)})


def test_statistics_beyond_fp32_are_refused():
    layout = Layout((TensorSpec("w", (3,), "float32"), TensorSpec("bn.running_var", (2,), "float64", False)))
    update = {"w": np.ones(3, np.float32), "bn.running_var": np.array([1e300, 1.0])}
    with pytest.raises(CodecError, match="beyond fp32"):
        m.encode_update(parse("dense32"), layout, update)
