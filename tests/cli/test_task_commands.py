"""`muster task new`, `list` and `check`, and the older `muster tasks`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fakenode import FakeNode, task_view

from muster.cli.main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_new_writes_an_example_and_overwrites_nothing(here: Path, capsys: Capture) -> None:
    assert run(["task", "new", "sea_ice"]) == 0
    text = (here / "sea_ice.py").read_text()
    assert "class SeaIce(Task):" in text
    assert 'name = "sea_ice"' in text
    assert "example" not in text.lower()
    assert "muster task check sea_ice.py" in capsys.readouterr().out
    (here / "sea_ice.py").write_text("mine")
    assert run(["task", "new", "sea_ice"]) == 2
    assert "sea_ice.py is there already" in capsys.readouterr().err
    assert (here / "sea_ice.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["9", "a-b", "a/b", "../a", "", "ü", "x" * 65])
def test_new_wants_a_name(name: str, here: Path, capsys: Capture) -> None:
    assert run(["task", "new", name]) == 2
    assert "is no name for a task" in capsys.readouterr().err
    assert list(here.glob("**/*.py")) == []


def test_new_where_nothing_can_be_written(here: Path, capsys: Capture) -> None:
    (here / "a.py").mkdir()
    assert run(["task", "new", "a"]) == 2
    assert "a.py" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["task", "list"], ["tasks"]])
def test_list_asks_the_node_and_opens_nothing(words: list[str], alpha: FakeNode, capsys: Capture) -> None:
    alpha.answers["tasks"] = [task_view(), {**vars_of("leaves"), "where": "/x/leaves.py"}]
    assert run(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["TASK", "VERSION", "FINGERPRINT", "PARAMETERS", "SAMPLES", "FROM"]
    assert lines[2].split() == ["leaves", "-", "-", "-", "-", "/x/leaves.py"]
    assert "open" not in alpha.requests[-1]
    assert run([*words, "--open", "--json"]) == 0
    assert alpha.requests[-1]["open"] is True
    assert json.loads(capsys.readouterr().out)[1]["where"] == "/x/leaves.py"


def vars_of(name: str) -> dict[str, object]:
    return {"name": name, "version": "", "fingerprint": "", "parameters": 0, "samples": 0}


def test_list_of_a_configuration(here: Path, capsys: Capture) -> None:
    (here / "node.toml").write_text(
        '[tasks.leaves]\nfile = "leaves.py:Leaves"\n[tasks.absent]\n[tasks.digits]\n'
    )
    assert run(["task", "list", "-c", "node.toml", "--json"]) == 0
    found = {view["name"]: view["where"] for view in json.loads(capsys.readouterr().out)}
    assert found == {
        "leaves": str(here / "leaves.py:Leaves"),
        "absent": "not installed",
        "digits": "muster.learning.digits:Digits",
        "mnist": "muster.learning.mnist:Mnist",
    }


def test_list_needs_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from muster.cli.main import run; run(['task', 'list']);"
        "heavy = {'torch', 'numpy', 'zenoh'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "digits" in done.stdout


@pytest.mark.slow
def test_the_example_is_a_good_task(here: Path, capsys: Capture) -> None:
    """With a process of its own, as a node has it."""
    assert run(["task", "new", "sea_ice"]) == 0
    assert run(["task", "check", "sea_ice.py", "--option", "hidden=8"]) == 0
    out, err = capsys.readouterr()
    assert "good: put it into a node's node.toml as [tasks.sea_ice]" in out
    assert [line.split()[:4] for line in out.splitlines() if line.startswith("0.weight")] == [
        ["0.weight", "8", "x", "4"]
    ]
    assert "warning" not in err
    assert run(["task", "check", "sea_ice.py", "--option", "hiden=8"]) == 3
    assert "did you mean 'hidden'?" in capsys.readouterr().err


def test_check_says_what_is_wrong_in_one_sentence(here: Path, capsys: Capture) -> None:
    assert run(["task", "check", "absent.py"]) == 6
    assert capsys.readouterr().err.splitlines()[-1] == (
        "muster: there is no task file absent.py: check the path"
    )
    assert run(["task", "check", "absent.py", "--option", "a"]) == 2
    assert "is not KEY=VALUE" in capsys.readouterr().err


@pytest.mark.slow
def test_check_says_what_a_node_without_the_frozen_part_would_get(here: Path, capsys: Capture) -> None:
    assert run(["task", "new", "ice"]) == 0
    text = (here / "ice.py").read_text()
    inner = "nn.Linear(4, 16).requires_grad_(False), nn.ReLU(), nn.Linear(16, 3)"
    line = next(line for line in text.splitlines() if "return nn.Sequential" in line)
    (here / "ice.py").write_text(text.replace(line, f"        return nn.Sequential({inner})"))
    assert run(["task", "check", "ice.py"]) == 0
    out = capsys.readouterr().out
    assert "travels        204 B of 524 B" in out
    assert "frozen         320 B, once to a node that lacks it" in out
