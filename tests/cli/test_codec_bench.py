from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from muster.cli.main import run as run_command
from muster.cli.output import size
from muster.compression.benchmark import measure
from muster.compression.codecs.families import EXAMPLES, parse
from muster.compression.example_update import mnist_update, update_for_file
from muster.compression.tensors import TENSORS_MAX, Array
from muster.errors import EXIT_CODES
from muster.learning.mnist import Mnist
from muster.learning.params import layout_of


def test_every_codec_has_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["codec", "bench", "--repeat", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 28_938
    rows = {row["codec"]: row for row in found["codecs"]}
    assert list(rows) == list(EXAMPLES)
    assert rows["dense32"]["relative_error"] == 0
    assert rows["stc:0.0025"]["message_bytes"] < rows["stc:0.05"]["message_bytes"] < 2000
    assert 0 < rows["quant8"]["relative_error"] < rows["stc:0.01"]["relative_error"] < 1


def test_a_model_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.safetensors"
    rng = np.random.default_rng(1)
    save_file({"w": rng.standard_normal((40, 30), np.float32), "steps": np.array([3])}, path)
    assert run_command(["codec", "bench", "--model", str(path), "--repeat", "1"]) == 0
    assert "1,200 parameters" in capsys.readouterr().out


def test_bfloat16_is_read_as_it_is(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 0.15625, 3e38], np.float32)  # 3e38 is cut to what bfloat16 has of it
    path = raw_file(
        tmp_path / "b.safetensors", "BF16", [4], (values.view("<u4") >> 16).astype("<u2").tobytes()
    )
    layout, update = update_for_file(path)
    assert [(spec.name, spec.shape, spec.dtype) for spec in layout.tensors] == [("a", (4,), "bfloat16")]
    same = tmp_path / "f.safetensors"
    save_file({"a": (values.view("<u4") & 0xFFFF0000).view(np.float32)}, same)
    assert np.array_equal(update["a"], update_for_file(same)[1]["a"].astype(update["a"].dtype))


@pytest.mark.filterwarnings("error")
def test_an_update_of_any_model_is_finite_and_makes_no_noise(tmp_path: Path) -> None:
    """Empty tensors, numbers at the end of their type, whose changes are the largest too."""
    path = tmp_path / "m.safetensors"
    ends = {
        "half": np.array([65504, -65504] * 40_000, np.float16),
        "single": np.array([3e38, -3e38] * 40_000, np.float32),
        "none": np.zeros((0, 4), np.float32),
        "double": np.array([3e38, -3e38, 1e-300]),
        "one": np.array(3.0, np.float32),
        "flags": np.ones(3, bool),
    }
    save_file(ends, path)
    layout, update = update_for_file(path)
    assert all(np.isfinite(update[name]).all() and update[name].shape == ends[name].shape for name in ends)
    assert measure("quant8", layout, update, 1).relative_error < 0.1


NAN, INF = np.full(4, np.nan, np.float32), np.array([1, np.inf])


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"a": NAN}, "tensor 'a' holds NaN, infinity"),
        ({"a": INF}, "tensor 'a' holds NaN, infinity"),
        ({"a": np.full(4, 1e300)}, "what float32 cannot hold"),
        ({"a": np.zeros((0, 4), np.float32)}, "it holds no weights"),
        ({"a": np.arange(4)}, "it holds no weights"),
        ({}, "it holds no weights"),
        ({str(n): np.zeros(0, np.float32) for n in range(TENSORS_MAX + 1)}, "the limit is 65536"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_tried_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tensors: dict[str, Array], said: str
) -> None:
    path = tmp_path / "m.safetensors"
    save_file(tensors, path)
    assert told(path, capsys).startswith(f"muster: {path} cannot be tried: ")
    assert said in told(path, capsys)


def test_what_is_no_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"no model at all")
    assert "is not a readable safetensors file" in told(junk, capsys)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    assert "is not a readable safetensors file" in told(empty, capsys)
    lie = raw_file(tmp_path / "lie.safetensors", "F32", [1 << 40], bytes(8))
    assert "is not a readable safetensors file" in told(lie, capsys)
    eighth = raw_file(tmp_path / "f8.safetensors", "F8_E4M3", [4], bytes(4))
    assert f"tensor 'a' of {eighth} has type F8_E4M3; use one of F64," in told(eighth, capsys)
    save_file({"u": np.arange(4, dtype=np.uint32)}, tmp_path / "u32")
    assert "has type U32; use one of F64," in told(tmp_path / "u32", capsys)
    assert f"there is no file {tmp_path / 'missing'}" in told(tmp_path / "missing", capsys)


def told(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence about a file."""
    assert run_command(["codec", "bench", "--model", str(path)]) == EXIT_CODES["bad_data"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert str(path) in captured.err
    return captured.err


def raw_file(path: Path, dtype: str, shape: list[int], data: bytes) -> Path:
    """A safetensors file of one tensor "a" in a type that numpy has not."""
    header = json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def test_the_default_is_the_layout_of_the_task() -> None:
    assert mnist_update()[0] == layout_of(Mnist(model="cnn29k").model())


def test_the_sizes_of_the_page_are_those_that_plans_count_on() -> None:
    page = (Path(__file__).parents[2] / "docs" / "compression.md").read_text()
    rows = [
        [cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    sizes = {row[1]: [cell.rpartition(": ")[2] for cell in row[3:5]] for row in rows}
    for names, codecs in {
        "`dense32`, `dense16`": ("dense32", "dense16"),
        "`quant8`, `quant4`": ("quant8", "quant4"),
        "`topk:P`, `topk16:P`": ("topk:0.01", "topk16:0.01"),
        "`stc:P`": ("stc:0.02",),
    }.items():
        told = [", ".join(size(parse(c).estimate_bytes(count)) for c in codecs) for count in (28_938, 5_994)]
        assert sizes.pop(names) == told
    assert not sizes
