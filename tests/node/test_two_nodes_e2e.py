"""Two real daemons on loopback train one model; its exports are worth what was reported."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daemons import Daemons
from muster.network.transport.zenoh.config import free_endpoint
from muster.network.trust.identity import init_fleet, issue
from muster.node.api.client import Client
from muster.node.api.snapshot import JobSnapshot
from patience import patient_s

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
NAMES = ("ann", "ben")
TASK = """
from torch import nn
from muster.learning.digits import Digits


class Other(Digits):
    name = "digits"
    version = "1"

    def model(self):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


class Pair(Daemons):
    """The daemons of `ann` and `ben`, one dialling the other."""

    up_s, end_s = 30.0, 20.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ports = {name: free_endpoint("127.0.0.1").port for name in NAMES}
        init_fleet(folder / "fleet", "pair")

    def begin(self, name: str, extra: str = "") -> Client:
        """Start it with more in its configuration."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        bundle = self.folder / f"{name}.pem"
        if not bundle.exists():
            issue(self.folder / "fleet", name, bundle)
        other = next(port for n, port in self.ports.items() if n != name)
        config = self.folder / f"{name}.toml"
        config.write_text(
            f'name = "{name}"\nhome = "{home}"\nbundle = "{bundle}"\ndiscovery = false\n'
            f'listen = ["127.0.0.1:{self.ports[name]}"]\nconnect = ["127.0.0.1:{other}"]\n{extra}'
        )
        return self.start(name)


def until(holds: object, limit_s: float) -> None:
    assert callable(holds)
    end_s = time.monotonic() + patient_s(limit_s)
    while not holds():
        assert time.monotonic() < end_s, "it did not come about"
        time.sleep(0.1)  # two processes are waited for: there is nothing to be told by


def finished(client: Client, job: str) -> JobSnapshot:
    until(lambda: client.log(job).job.state != "running", 120.0)
    view = client.log(job).job
    assert view.state == "finished", view.why
    until(lambda: client.log(job).job.measured_examples == 359, 30.0)
    return client.log(job).job


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    running = Pair(tmp_path)
    yield running
    running.end()


def test_exports_are_worth_what_was_reported_and_training_goes_on_from_them(
    pair: Pair, tmp_path: Path
) -> None:
    import onnxruntime
    import torch
    from safetensors.torch import load_file

    from muster.learning.digits import Digits

    half = '[tasks.digits]\nsplit = "iid"\nparts = 2\npart = {}\n'
    ann = pair.begin("ann", half.format(0))
    ben = pair.begin("ben", half.format(1))
    until(lambda: len(ann.snapshot().neighbours) == 1, 30.0)
    job = ann.train("digits", rounds=4, min_nodes=2)
    view = finished(ann, job)
    assert view.round == 4
    assert {c.node: c.updates_counted for c in view.contributions} == {"ann": 4, "ben": 4}
    until(lambda: ben.log(job).job.head == view.head, 30.0)

    exported = ann.export(job, tmp_path / "model")
    x, y = Digits().evaluation_data()
    plain = Digits().model()
    plain.load_state_dict(load_file(tmp_path / "model.safetensors"))
    with torch.inference_mode():
        by_torch = plain(torch.as_tensor(x)).argmax(1).numpy()
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    outputs = session.run(None, {session.get_inputs()[0].name: np.asarray(x, np.float32)})
    assert exported.accuracy == pytest.approx(view.accuracy)
    assert (by_torch == y).mean() == pytest.approx(exported.accuracy, abs=1e-6)
    assert (outputs[0].argmax(1) == y).mean() == pytest.approx(exported.accuracy, abs=1e-6)

    again = ann.train("digits", rounds=1, lr=1e-6, **{"from": str(tmp_path / "model.safetensors")})
    finished(ann, again)
    first = ann.log(again).commits[0]
    assert first.round == 0
    assert first.accuracy == pytest.approx(exported.accuracy, abs=1e-6)


def test_a_node_with_another_model_of_that_name_says_so_and_the_job_goes_on_without_it(
    pair: Pair, tmp_path: Path
) -> None:
    (tmp_path / "other.py").write_text(TASK)
    ann = pair.begin("ann")
    ben = pair.begin("ben", f'[tasks.digits]\nfile = "{tmp_path / "other.py"}"\n')
    until(lambda: len(ann.snapshot().neighbours) == 1, 30.0)
    job = ann.train("digits", rounds=1)
    view = finished(ann, job)
    assert [c.node for c in view.contributions] == ["ann"]
    until(lambda: any(j.error for j in ben.snapshot().jobs), 60.0)
    error = ben.snapshot().jobs[0].error
    assert error is not None
    assert "install the same version of the task on every node" in error


def test_a_daemon_counts_its_energy_and_its_battery_drains(pair: Pair) -> None:
    half = '[tasks.digits]\nsplit = "iid"\nparts = 2\npart = {}\n'
    energy = '[energy]\npreset = "pi4"\nradio = "lte"\ncapacity_j = 5000\n'
    ann = pair.begin("ann", half.format(0) + energy)
    pair.begin("ben", half.format(1) + '[energy]\nmeter = "none"\n')
    until(lambda: len(ann.snapshot().neighbours) == 1, 30.0)
    job = ann.train("digits", rounds=3, min_nodes=2)
    view = finished(ann, job)
    given = {c.node: c.joules for c in view.contributions}
    assert given["ben"] is None
    assert view.joules == given["ann"] is not None
    mine = ann.snapshot().node
    assert mine.energy is not None
    assert mine.energy.used_j is not None
    _, first, second, *_ = ann.log(job).commits  # both lie between its offer and its last update
    # 2.7 W idle; at most 3.6 W training and 0.6 W in a tail of LTE, bytes hardly anything
    assert 2.7 * (second.age_s - first.age_s) < view.joules < mine.energy.used_j < 4.4 * mine.uptime_s + 1
    assert mine.battery == pytest.approx(1 - mine.energy.used_j / 5000, abs=0.01)
    assert "by the watts of the preset pi4" in (pair.folder / "ann" / "output.log").read_text()
