"""Every command line in the README and the pages below is executed, in order, on two nodes of one machine.

`make` lines are checked against the Makefile, demos and emulations parsed (one runs in
tests/cli/demo/test_demo_e2e.py); everything else runs as it stands there, with only addresses, the job's id
and homes filled in.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import click
import pytest

from muster.cli.main import cli
from muster.node.api.client import answers
from muster.node.config import load_config
from patience import patient_s

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/demo.md",
    "docs/operations.md",
    "docs/trackers.md",
    "docs/tasks.md",
    "docs/history.md",
)
UP_S = patient_s(40.0)


def blocks(language: str) -> list[str]:
    """The code of that language in all pages, in order."""
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [block for page in PAGES for block in fence.findall((ROOT / page).read_text("utf-8"))]


COMMANDS = [
    line for block in blocks("sh") for line in block.splitlines() if line and not line.startswith("#")
]


def test_the_readme_is_short_and_its_links_exist() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 150
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert (ROOT / target).exists(), target


def test_no_command_got_lost_on_the_way_between_pages() -> None:
    """What a newcomer needs is in one of them, and so is tried below."""
    for command in (
        "make demo", "make test", "muster demo", "muster emulate", "muster fleet init", "muster fleet issue",
        "muster node", "muster nodes", "muster tasks", "muster train", "muster jobs", "muster log",
        "muster export", "muster dashboard", "muster show", "muster diff", "muster stop", "muster task check",
        "muster track",
    ):  # fmt: skip
        assert any(line.split("#")[0].startswith(command) for line in COMMANDS), command
    assert len(COMMANDS) >= 29


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_targets_exist(line: str) -> None:
    done = subprocess.run(
        [*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # What CI runs must be what the README names.
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("muster ")])
def test_every_command_line_parses(line: str, tmp_path: Path) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, line
        command, words = found, words[1:]
    command.make_context("muster", words)


def test_node_toml_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSTER_HOME", raising=False)
    block = next(block for block in blocks("toml") if "[policy]" in block)
    path = tmp_path / "node.toml"
    path.write_text(block)
    config = load_config(path)
    assert config.name == "bravo"
    assert config.tasks["leaves"]["file"] == str(tmp_path / "leaves.py")


def write_task(folder: Path) -> None:
    """The README's task, and the data that the README makes for it."""
    source = next(block for block in blocks("python") if "class Leaves" in block)
    (folder / "leaves.py").write_text(source)
    data = next(block for block in blocks("python") if "np.savez" in block)
    subprocess.run([sys.executable, "-c", data], cwd=folder, check=True)


class Machine:
    """Runs README lines in one directory, as two machines that see each other through the loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.job = ""
        self.commits: list[str] = []  # of the last drawn history, newest first
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.ports = [_free_port(), _free_port()]
        self.env = {
            **os.environ,
            "XDG_DATA_HOME": str(folder / "d"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.env.pop("MUSTER_HOME", None)

    def run(self, line: str) -> str:
        words = [self.fill(word) for word in shlex.split(line)]
        if words[:2] == ["muster", "node"]:
            return self.start(words)
        if words[:2] == ["muster", "dashboard"]:
            return self.look(words)
        env = self.env | ({"MUSTER_HOME": str(self.folder / "d" / "muster" / "alpha")} if self.nodes else {})
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=patient_s(110.0),
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        if match := re.search(r"^job ([0-9a-f]{8})", done.stdout, re.MULTILINE):
            self.job = match[1]
        self.commits = re.findall(r"^\*[ |]* ([0-9a-f]{8})  round", done.stdout, re.MULTILINE) or self.commits
        return done.stdout

    def fill(self, word: str) -> str:
        if word == "JOB":
            return self.job
        places = {"COMMIT": 1, "A": 2, "B": 0}
        return self.commits[places[word]] if word in places else word

    def start(self, words: list[str]) -> str:
        number = len(self.nodes)
        words = [f"127.0.0.1:{self.ports[0]}" if word.endswith(":7447") else word for word in words]
        # Discovery would find the nodes of whoever else uses this machine.
        words += ["--listen", f"127.0.0.1:{self.ports[number]}", "--no-discovery"]
        with (self.folder / f"node{number}.log").open("wb") as log:
            self.nodes.append(subprocess.Popen(words, cwd=self.folder, env=self.env, stdout=log, stderr=log))
        home = self.folder / "d" / "muster" / words[words.index("--name") + 1]
        deadline_s = time.monotonic() + patient_s(UP_S)
        while not answers(home):
            assert time.monotonic() < deadline_s, (self.folder / f"node{number}.log").read_text()
            time.sleep(0.1)
        return ""

    def look(self, words: list[str]) -> str:
        """Start the page, which goes on until Ctrl-C, and ask it what it shows."""
        env = {**self.env, "PYTHONUNBUFFERED": "1"}
        page = subprocess.Popen(words, cwd=self.folder, env=env, stdout=subprocess.PIPE, text=True)
        try:
            assert page.stdout is not None
            address = page.stdout.readline().removeprefix("page: ").strip()
            deadline_s = time.monotonic() + patient_s(UP_S)
            while True:
                with urllib.request.urlopen(f"{address}api/state", timeout=patient_s(10)) as answer:
                    state: str = answer.read().decode()
                if json.loads(state)["nodes"]:
                    break
                assert time.monotonic() < deadline_s, state
                time.sleep(0.2)
        finally:
            page.send_signal(signal.SIGINT)
            page.communicate(timeout=patient_s(20.0))
        assert page.returncode == 0
        return state

    def wait_for_neighbour(self, name: str) -> None:
        deadline_s = time.monotonic() + patient_s(UP_S)
        while name not in [n["name"] for n in json.loads(self.run("muster nodes --json"))["neighbours"]]:
            assert time.monotonic() < deadline_s
            time.sleep(0.2)

    def close(self) -> None:
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            assert node.wait(patient_s(20)) == 0


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_every_command_runs(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    write_task(tmp_path)
    said: dict[str, str] = {}
    try:
        for line in COMMANDS:
            if line.startswith(("make ", "muster demo", "muster emulate")):
                continue
            said[line] = machine.run(line)
            if "--name bravo" in line and line.startswith("muster node"):
                machine.wait_for_neighbour("bravo")
        python = next(block for block in blocks("python") if "muster.train" in block)
        (tmp_path / "script.py").write_text(python)
        machine.run(f"{sys.executable} script.py")
    finally:
        machine.close()
    assert "bravo" in said["muster nodes"]
    assert "digits" in said["muster tasks"]
    trained = said["muster train digits --rounds 5"]
    assert "finished: 5 rounds done" in trained
    assert "bravo" in trained.split("shares:")[1]
    assert said["muster log JOB --graph"].count("\n*") >= 3
    seen = json.loads(said["muster dashboard --node alpha"])
    assert seen["header"]["view"] == "alpha"
    assert set(seen["nodes"]) == {"alpha", "bravo"}
    assert max(commit["round"] for commit in seen["commits"].values()) == 5
    assert "held here   yes" in said["muster show COMMIT"]
    assert "counted by b only" in said["muster diff A B"]
    assert "finished: 2 rounds done" in said["muster train digits --from COMMIT --rounds 2"]
    assert "finished after 2 rounds" in said["muster prune COMMIT --width 0.5 --tune 2"]
    assert (tmp_path / "digits.safetensors").stat().st_size > 10_000
    assert (tmp_path / "digits.onnx").stat().st_size > 10_000
    assert "good" in said["muster task check leaves.py --data leaves.npz"]
