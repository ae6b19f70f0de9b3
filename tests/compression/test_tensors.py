from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.compression import tensors
from muster.compression.tensors import Layout, TensorError, TensorSpec

LAYOUT = Layout(
    (
        TensorSpec("conv.weight", (2, 3), "float32"),
        TensorSpec("norm.running_mean", (3,), "float64"),
        TensorSpec("norm.num_batches_tracked", (), "int64"),
        TensorSpec("mask", (2,), "bool"),
        TensorSpec("empty", (0, 4), "float32"),
    ),
    aliases=(("tied.weight", "conv.weight"),),
)


def arrays() -> dict[str, Any]:
    return {
        "conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "norm.running_mean": np.array([0.5, -1.0, 3.0]),
        "norm.num_batches_tracked": np.array(7, np.int64),
        "mask": np.array([True, False]),
        "empty": np.zeros((0, 4), np.float32),
    }


def test_round_trip_keeps_every_bit() -> None:
    blob = tensors.pack(LAYOUT, arrays())
    assert len(blob) == LAYOUT.blob_bytes == 16 + 24 + 24 + 8 + 2
    back = tensors.unpack(LAYOUT, blob)
    assert list(back) == [spec.name for spec in LAYOUT.tensors]
    for name, array in arrays().items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)
    assert tensors.pack(LAYOUT, back) == blob


def test_bytes_do_not_depend_on_memory_order_or_byte_order() -> None:
    other = arrays()
    other["conv.weight"] = np.asfortranarray(other["conv.weight"])
    other["norm.running_mean"] = other["norm.running_mean"].astype(">f8")
    assert tensors.pack(LAYOUT, other) == tensors.pack(LAYOUT, arrays())


@given(st.integers(0, 40), st.sampled_from(tensors.DTYPES), st.randoms(use_true_random=False))
def test_any_values_survive(size: int, dtype: str, random: Any) -> None:
    layout = Layout((TensorSpec("x", (size,), dtype),))
    values = np.frombuffer(random.randbytes(size * np.dtype(dtype).itemsize), np.uint8)
    array = values.view(dtype) if dtype != "bool" else values % 2 == 0
    blob = tensors.pack(layout, {"x": array}, finite=False)
    assert tensors.unpack(layout, blob, finite=False)["x"].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv.weight": np.zeros((3, 2), np.float32)}, "shape"),
        ({"conv.weight": np.zeros((2, 3), np.float64)}, "dtype"),
        ({"conv.weight": np.full((2, 3), np.nan, np.float32)}, "not finite"),
        ({"extra": np.zeros(1, np.float32)}, "unknown extra"),
    ],
)
def test_wrong_tensors_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(TensorError, match=words):
        tensors.pack(LAYOUT, arrays() | change)


def test_a_missing_tensor_is_named() -> None:
    less = arrays()
    del less["mask"]
    with pytest.raises(TensorError, match="mask"):
        tensors.pack(LAYOUT, less)


def test_wrong_bytes_are_refused() -> None:
    blob = tensors.pack(LAYOUT, arrays())
    cases = {
        "at least": blob[:10],
        "no tensor blob": b"PK\x03\x04" + blob[4:],
        "format 9": blob[:4] + b"\x09\x00" + blob[6:],
        "another model": blob[:8] + b"12345678" + blob[16:],
        "asks for": blob + b"\x00",
        "truth": blob[:-1] + b"\x07",
    }
    for words, bad in cases.items():
        with pytest.raises(TensorError, match=words):
            tensors.unpack(LAYOUT, bad)
    nan = bytearray(blob)
    nan[16:20] = np.float32(np.nan).tobytes()
    with pytest.raises(TensorError, match="not finite"):
        tensors.unpack(LAYOUT, nan)


def test_unpacked_tensors_cannot_be_written() -> None:
    back = tensors.unpack(LAYOUT, bytearray(tensors.pack(LAYOUT, arrays())))
    with pytest.raises(ValueError, match="read-only"):
        back["conv.weight"][0, 0] = 1


def test_fingerprint_tells_layouts_apart() -> None:
    spec = LAYOUT.tensors[0]
    others = [
        Layout(LAYOUT.tensors[::-1], LAYOUT.aliases),
        Layout(LAYOUT.tensors),
        Layout((TensorSpec(spec.name, (3, 2), spec.dtype), *LAYOUT.tensors[1:]), LAYOUT.aliases),
        Layout((TensorSpec(spec.name, spec.shape, "float16"), *LAYOUT.tensors[1:]), LAYOUT.aliases),
    ]
    assert len({layout.fingerprint() for layout in [LAYOUT, *others]}) == 5
    assert Layout.from_plain(LAYOUT.to_plain()) == LAYOUT


def test_layout_faults() -> None:
    spec = TensorSpec("x", (1,), "float32")
    with pytest.raises(TensorError, match="same name"):
        Layout((spec, spec))
    with pytest.raises(TensorError, match="not in the layout"):
        Layout((spec,), (("y", "z"),))
    with pytest.raises(TensorError, match="complex64"):
        TensorSpec("x", (1,), "complex64")
    with pytest.raises(TensorError, match="layout"):
        Layout.from_plain([1, 2])


def test_counts_and_aliases() -> None:
    assert LAYOUT.parameters == 9
    full = tensors.expand(LAYOUT, arrays())
    assert full["tied.weight"] is full["conv.weight"]


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    assert tensors.write(LAYOUT, path, arrays()) == path.stat().st_size
    assert [p.name for p in tmp_path.iterdir()] == ["blob"]
    assert np.array_equal(tensors.read(LAYOUT, path)["mask"], [True, False])
    path.write_bytes(b"short")
    with pytest.raises(TensorError, match="5 bytes"):
        tensors.read(LAYOUT, path)
