"""A node, asked from Python: the TensorBoard example, a result's module, a node that dies and is back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import muster
from muster.cli.track.event_file import read
from muster.learning.digits import Digits
from muster.node.api.client import Client, answers
from patience import patient_s

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
EXAMPLE = Path(__file__).parents[2] / "examples" / "tensorboard_run.py"
UP_S = patient_s(40.0)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Node:
    """A node of its own fleet, with no neighbours."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "node"
        self.env = {**os.environ, "XDG_DATA_HOME": str(folder / "d"), "MUSTER_HOME": str(self.home)}
        self.start()

    def start(self) -> None:
        argv = [sys.executable, "-m", "muster.cli.main", "node", "--name", "ann", "--home", str(self.home)]
        argv += ["--no-discovery", "--listen", f"127.0.0.1:{free_port()}"]
        with (self.home.parent / "node.log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=self.env, stdout=log, stderr=log)
        end_s = time.monotonic() + patient_s(UP_S)
        while not answers(self.home):
            gone = self.process.poll() is not None or time.monotonic() >= end_s
            assert not gone, (self.home.parent / "node.log").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    made = Node(tmp_path)
    monkeypatch.setenv("MUSTER_HOME", str(made.home))
    yield made
    made.process.send_signal(signal.SIGTERM)
    made.process.wait(patient_s(20))


def test_the_tensorboard_example_runs(node: Node, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "runs"], cwd=tmp_path, env=node.env, capture_output=True, text=True,
        check=False, timeout=patient_s(200.0),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "accuracy 0." in done.stdout
    (path,) = (tmp_path / "runs").glob("digits-*/events.out.tfevents.*")
    rounds = [event for event in read(path.read_bytes()) if "commit" in event.texts]
    assert [event.step for event in rounds][:5] == [1, 2, 3, 4, 5]  # and perhaps the mean of the last models
    assert rounds[0].scalars["share/ann"] == 1.0
    assert 0.2 < rounds[-1].scalars["accuracy"] <= 1.0

    job = path.parent.name.removeprefix("digits-")
    result = muster.result(job)
    assert result.metrics["accuracy"] == pytest.approx(rounds[-1].scalars["accuracy"])
    assert [r.number for r in muster.follow(job)] == [event.step for event in rounds]

    model, task = result.model(), Digits()
    x, y = (torch.as_tensor(np.asarray(part)) for part in task.evaluation_data() or ())
    with torch.no_grad():
        right = (model(x).argmax(1) == y).float().mean().item()
    assert right == pytest.approx(result.metrics["accuracy"], abs=1e-6)


def test_a_node_that_is_killed_is_gone_on_with(node: Node) -> None:
    job = Client(node.home).train("digits", rounds=12, steps=40)
    rounds = muster.follow(job)
    first = [next(rounds) for _ in range(3)]
    node.kill()
    back = threading.Timer(0.5, node.start)
    back.start()
    found = [*first, *rounds]
    back.join()
    assert [r.number for r in found if r.kind == "round"] == list(range(1, 13))
    assert all(r.kind == "round" or r is found[-1] for r in found)
    assert len({r.commit for r in found}) == len(found)
