"""A task's file is a module of its own name, whose neighbours are found from wherever the daemon runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from muster.learning import task

PLAIN = "from muster.learning.task import Task\nclass T(Task):\n    name = 'plain'\n"
WORKERS = """
import sys
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from muster.learning.task import Task
from neighbour import SIZE

class Points(Dataset):
    def __len__(self):
        return SIZE

    def __getitem__(self, i):
        return torch.full((4,), float(i)), i % 2

class Sent(Task):
    name = "sent"
    options = {"method": "spawn"}

    def model(self):
        return nn.Linear(4, 2)

    def training_data(self):
        method = self.options["method"]
        return lambda batch, seed: DataLoader(Points(), batch, num_workers=1, multiprocessing_context=method)
"""


def test_a_neighbour_is_found_from_any_directory(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("WIDTH = 5\n")
    (tmp_path / "leaf.py").write_text("from net import WIDTH\n" + PLAIN + "    width = WIDTH\n")
    code = f"from muster.learning import task; print(task.load({str(tmp_path / 'leaf.py')!r}, {{}}).width)"
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == "5\n"


def test_two_folders_have_neighbours_of_one_name(tmp_path: Path) -> None:
    for width in (1, 2):
        folder = tmp_path / str(width)
        folder.mkdir()
        (folder / "net_of_two.py").write_text(f"WIDTH = {width}\n")
        (folder / "leaf.py").write_text("from net_of_two import WIDTH\n" + PLAIN + "    width = WIDTH\n")
    for width in (1, 2, 1):
        assert task.load(str(tmp_path / str(width) / "leaf.py"), {}).width == width  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["queue.py", "yaml.py", "torch.py", "a.b.py"])
def test_a_file_hides_no_installed_module(name: str, tmp_path: Path) -> None:
    """Its class is found all the same."""
    before = {n: sys.modules.get(n) for n in ("queue", "torch")}
    (tmp_path / name).write_text(PLAIN)
    assert task.load(str(tmp_path / name), {}).name == "plain"
    assert {n: sys.modules.get(n) for n in ("queue", "torch")} == before


def test_the_standard_library_goes_before_a_tasks_folder(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("raise RuntimeError\n")
    (tmp_path / "leaf.py").write_text("import colorsys\n" + PLAIN)
    sys.modules.pop("colorsys", None)
    assert task.load(str(tmp_path / "leaf.py"), {}).name == "plain"


@pytest.mark.e2e
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers_of_every_start_method_import_the_file(method: str, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("SIZE = 8\n")
    (tmp_path / "sent.py").write_text(WORKERS)
    code = (
        "from muster.learning import task\n"
        "from muster.learning.data import open_data\n"
        "if __name__ == '__main__':\n"
        f"    data = open_data(task.load({str(tmp_path / 'sent.py')!r}, {{'method': {method!r}}}))\n"
        "    print(next(data.own.batches(4, 0)).data[0][:, 0].tolist(), data.held_out)\n"
    )
    (tmp_path / "main.py").write_text(code)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py")], cwd="/", capture_output=True, text=True, check=False
    )
    assert done.stdout == "[0.0, 1.0, 2.0, 3.0] None\n", done.stderr
