from __future__ import annotations

import numpy as np
import pytest

from muster.compression import CodecError, parse
from muster.compression import model as m
from muster.compression.change import add, difference
from muster.compression.codec import TINY
from muster.compression.tensors import Layout, TensorSpec

WHOLE = ("bool", "uint8", "int8", "int16", "int32", "int64")


def extremes(dtype):
    """Every pair of what a type can hold at its ends and around zero."""
    info = None if dtype == "bool" else np.iinfo(dtype)
    values = (False, True) if info is None else (info.min, info.min + 1, 0, 1, info.max - 1, info.max)
    pairs = [(a, b) for a in values for b in values]
    return np.array([a for a, _ in pairs], dtype), np.array([b for _, b in pairs], dtype)


def layout_of(dtype, size):
    return Layout((TensorSpec("w", (2,), "float32"), TensorSpec("buffer", (size,), dtype, False)))


@pytest.mark.parametrize("dtype", WHOLE)
def test_whole_numbers_come_back_exactly_over_the_wire(dtype):
    before, after = extremes(dtype)
    layout = layout_of(dtype, before.size)
    base = {"w": np.zeros(2, np.float32), "buffer": before}
    new = {"w": np.ones(2, np.float32), "buffer": after}
    message = m.encode_update(parse("dense32"), layout, difference(layout, base, new))
    change = m.decode_update(layout, message)
    assert {k: v.dtype.name for k, v in change.items()} == {s.name: s.dtype for s in layout.changes.tensors}
    rebuilt = add(layout, base, change)
    assert rebuilt["buffer"].dtype == before.dtype
    assert rebuilt["buffer"].tolist() == after.tolist()


@pytest.mark.parametrize(("dtype", "by"), [("bool", 1), ("uint8", 100), ("int8", 100), ("int32", 2**31 - 1)])
def test_a_change_that_leaves_the_range_is_refused(dtype, by):
    layout = layout_of(dtype, 1)
    base = {"w": np.zeros(2, np.float32), "buffer": np.array([200 if dtype == "uint8" else 100], dtype)}
    change = {"w": np.zeros(2, np.float32), "buffer": np.array([by], layout.changes.by_name["buffer"].dtype)}
    with pytest.raises(CodecError, match="out of the range"):
        add(layout, base, change)


def without_denormals(arrays):
    small = np.finfo(np.float32).smallest_normal
    return {name: np.where(np.abs(x) < small, 0, x).astype(x.dtype) for name, x in arrays.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_a_processor_may_flush_to_zero_is_zero_for_all(dtype):
    """By value: no denormal number comes out, none that goes in shows, and no zero is negative."""
    layout = Layout((TensorSpec("w", (7,), dtype),))
    small = np.finfo(np.float32).smallest_normal
    base = {"w": np.array([small / 4, 1.5 * small, 2 * TINY, -TINY, 0.5, -0.0, -1.0]).astype(dtype)}
    change = {"w": np.array([0.0, -1.4 * small, small / 2, -small / 2, small / 4, -0.0, 0.25], np.float32)}
    new = add(layout, base, change)["w"]
    assert new.tobytes() == add(layout, without_denormals(base), without_denormals(change))["w"].tobytes()
    assert ((new == 0) | (np.abs(new) >= TINY)).all()
    assert not np.signbit(new[new == 0]).any()
