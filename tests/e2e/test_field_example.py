"""examples/field with real processes, as its README has it: two tasks adapt to a change on one's own data."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from patience import patient_s

pytest.importorskip("PIL.Image")
EXAMPLE = Path(__file__).parents[2] / "examples" / "field"
WITHIN_S = 400.0  # on a busy machine

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


class Example:
    """The example in a folder of its own, with its node running on free ports."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(EXAMPLE, folder)
        self.folder, self.env = folder, os.environ | {"MUSTER_HOME": str(folder / "home")}
        config = re.sub(r"^port = \d+\n", "", (folder / "node.toml").read_text(), flags=re.MULTILINE)
        config = config.replace("inbox =", "settle_s = 5\ninbox =")
        (folder / "node.toml").write_text("discovery = false\n" + config)
        self.run("made_up_data.py")
        log = (folder / "node.log").open("w")
        with log:
            line = [sys.executable, "-m", "muster.cli.main", "node", "-c", "node.toml"]
            self.node = subprocess.Popen(line, cwd=folder, env=self.env, stdout=log, stderr=log)

    def run(self, *words: str) -> str:
        line = [sys.executable, *words]
        done = subprocess.run(
            line, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=patient_s(300)
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def muster(self, *words: str) -> str:
        return self.run("-m", "muster.cli.main", *words)

    def right(self, task: str, path: str, *more: str) -> float:
        said = self.run("ask.py", task, path, "--url", self.url(task), *more)
        found = re.match(r"(\d+) of (\d+) right", said)
        assert found is not None, said
        return int(found[1]) / int(found[2])

    def url(self, task: str) -> str:
        return str(self.report(task)["url"]).rstrip("/")

    def report(self, task: str) -> dict[str, object]:
        path = self.folder / "home" / "serve" / task / "server.json"
        found: dict[str, object] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def until(self, what: str, holds: Callable[[], object], within_s: float = WITHIN_S) -> None:
        until_s = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < until_s, f"{what}: not within {within_s} s\n{self.log()}"
            assert self.node.poll() is None, self.log()
            time.sleep(0.5)

    def log(self) -> str:
        return (self.folder / "node.log").read_text()


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    made = Example(tmp_path / "field")
    yield made
    made.node.send_signal(signal.SIGTERM)
    try:
        made.node.wait(patient_s(30))
    except subprocess.TimeoutExpired:
        made.node.kill()
        made.node.wait()


def test_models_of_pictures_and_of_rows_adapt_to_what_changed(example: Example) -> None:
    tasks = {"parts": ("data/parts", "data/night"), "pump": ("data/pump.csv", "data/new-sensor.csv")}
    example.until("both are served", lambda: all(example.report(task).get("url") for task in tasks), 60)
    first: dict[str, object] = {}
    for task, (usual, changed) in tasks.items():
        example.muster("train", task, "--rounds", "12")
        commit = re.findall(r"committed as ([0-9a-f]{8})", example.log())[-1]
        assert f"{commit} is in use" in example.muster("use", commit)
        example.until("the server has it", lambda t=task, c=commit: example.report(t)["version"] == c, 30)
        first[task] = commit
        assert example.right(task, usual, "--times", "2") > 0.95
        assert example.right(task, changed) < 0.6
        example.until("the change is noticed", lambda t=task: example.report(t)["alarms"], 30)
    inbox = example.folder / "to-learn"
    shutil.copytree(example.folder / "data" / "night", inbox / "parts", dirs_exist_ok=True)
    shutil.copy(example.folder / "data" / "new-sensor.csv", inbox / "pump")
    for task, (usual, changed) in tasks.items():
        example.until(
            f"{task} has another model",
            lambda t=task: example.report(t)["version"] not in (first[t], ""),
        )
        assert example.right(task, changed) > 0.9
        assert example.right(task, usual) > 0.95
        assert f"{task}" in example.muster("field")
    assert len(list((inbox / "parts" / "done").rglob("*.png"))) == 180
    assert (inbox / "pump" / "done" / "new-sensor.csv").exists()
    assert not (inbox / "parts" / "refused").exists()
    assert all(example.report(task)["failures"] == 0 for task in tasks)
