from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from muster.errors import MusterError
from muster.learning import params, task
from muster.learning.digits import Digits
from muster.learning.mnist import MODELS, Mnist

EXAMPLE = Path(__file__).parents[2] / "examples" / "leaves.py"


def mnist_file(path: Path, **changes: object) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (40, 28, 28)).astype(np.uint8),
        "y_train": np.arange(40) % 10,
        "x_test": rng.integers(0, 256, (20, 28, 28)).astype(np.uint8),
        "y_test": np.arange(20) % 10,
    }
    arrays.update({key: np.asarray(value) for key, value in changes.items()})
    np.savez(path, **arrays)
    return path


def test_the_daemon_side_does_not_import_torch() -> None:
    code = (
        "import muster.learning.task, muster.algorithms.aggregation, muster.algorithms.splits,"
        " muster.learning.recipes, muster.compression.tensors, sys;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digits_data() -> None:
    x, _ = Digits().training_data()
    assert x.shape == (1438, 1, 8, 8)
    assert x.dtype == np.float32
    held, labels = Digits().evaluation_data()
    assert len(held) + len(x) == 1797
    assert np.bincount(labels).min() >= 34
    parts = [Digits(split="classes:2", part=i, parts=8, seed=3).training_data()[1] for i in range(8)]
    assert sum(len(part) for part in parts) == 1438
    assert all(len(np.unique(part)) == 2 for part in parts)


@pytest.mark.parametrize(("kind", "count"), [("cnn6k", 5_994), ("cnn29k", 28_938), ("cnn47k", 46_730)])
def test_mnist_models(kind: str, count: int) -> None:
    import torch

    model = Mnist(model=kind).model()
    assert params.layout_of(model).parameters == count
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert kind in MODELS


def test_mnist_data(tmp_path: Path) -> None:
    given = Mnist(data=str(mnist_file(tmp_path / "m.npz")), split="iid", part=1, parts=4)
    x, y = given.training_data()
    assert x.shape == (10, 1, 28, 28)
    assert y.dtype == np.int64
    assert given.evaluation_data()[0].shape == (20, 1, 28, 28)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_train": np.zeros((40, 784))}, "shape"),
        ({"y_train": np.full(40, 10)}, "labels"),
        ({"y_train": np.zeros(40)}, "labels"),
        ({"x_train": np.full((40, 28, 28), -1.0)}, "pixels"),
        ({"x_train": np.zeros((39, 28, 28), np.uint8)}, "shape"),
        ({"x_train": np.array([{}], object)}, "cannot be read"),
    ],
)
def test_malformed_mnist(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    path = mnist_file(tmp_path / "m.npz", **changes)
    with pytest.raises(MusterError, match=words) as caught:
        Mnist(data=str(path)).training_data()
    assert caught.value.code == "bad_data"


def test_files_that_are_no_mnist(tmp_path: Path) -> None:
    whole = mnist_file(tmp_path / "m.npz").read_bytes()
    some = io.BytesIO()
    np.savez(some, x_train=np.zeros(3))
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    for content in (b"", b"hello", whole[: len(whole) // 2], some.getvalue(), single.getvalue()):
        path = tmp_path / "bad.npz"
        path.write_bytes(content)
        with pytest.raises(MusterError) as caught:
            Mnist(data=str(path)).training_data()
        assert caught.value.code == "bad_data"
    for options in ({}, {"data": str(tmp_path)}, {"data": str(tmp_path / "none.npz")}):
        with pytest.raises(MusterError) as caught:
            Mnist(**options).training_data()
        assert caught.value.code == "bad_data"


def test_options_are_checked() -> None:
    with pytest.raises(MusterError, match="cnn9"):
        Mnist(model="cnn9")
    with pytest.raises(MusterError, match="part 3 of 2"):
        Digits(part=3, parts=2)
    with pytest.raises(MusterError, match="use iid"):
        Digits(split="half")


def test_tasks_are_found(tmp_path: Path) -> None:
    assert {"digits", "mnist"} <= set(task.installed())
    assert isinstance(task.load("digits", {}), Digits)
    assert task.load(str(EXAMPLE), {}).name == "leaves"
    assert task.load(f"{EXAMPLE}:Leaves", {}).version == "1"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("digit", "use one of digits"),
        ("/no/such.py", "check the path"),
        (f"{EXAMPLE}:Trees", "no class Trees"),
    ],
)
def test_unknown_tasks(reference: str, words: str) -> None:
    with pytest.raises(MusterError, match=words) as caught:
        task.load(reference, {})
    assert caught.value.code == "unknown_task"


def test_a_file_must_hold_one_task(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    text = "from muster.learning.task import Task\nclass A(Task): name='a'\nclass B(Task): name='b c'\n"
    path.write_text(text)
    with pytest.raises(MusterError, match="A, B"):
        task.load(str(path), {})
    assert task.load(f"{path}:A", {}).name == "a"
    with pytest.raises(MusterError, match="b c"):
        task.load(f"{path}:B", {})
    path.write_text("x = 1\n")
    with pytest.raises(MusterError, match="none"):
        task.load(str(path), {})


def test_fingerprint_covers_name_version_and_layout() -> None:
    small, large = (params.layout_of(Mnist(model=kind).model()) for kind in ("cnn6k", "cnn29k"))
    prints = {
        task.fingerprint("mnist", "1", small),
        task.fingerprint("mnist", "2", small),
        task.fingerprint("digits", "1", small),
        task.fingerprint("mnist", "1", large),
    }
    assert len(prints) == 4
