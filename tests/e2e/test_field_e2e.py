"""Three nodes that serve a model: two of them see digits turned, and learn to read them together.

Real daemons, servers, trainers and links, on loopback.
"""

from __future__ import annotations

import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cameras import Camera, until

from daemons import Daemons
from muster.errors import MusterError
from muster.network.trust.identity import init_fleet, issue
from muster.node.api.field_view import FieldView
from patience import patient_s

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
NAMES = ("ann", "ben", "cat")
CONFIG = """
name = "{name}"
home = "{home}"
bundle = "{bundle}"
discovery = false
listen = ["127.0.0.1:{port}"]
connect = [{connect}]
[tasks.digits]
split = "iid"
parts = 3
part = {part}
[tasks.digits.serve]
port = {serving}
keep_per_s = 500
settle_s = 15
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Fleet(Daemons):
    """The daemons, each with its server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        ports = free_ports(2 * len(NAMES))
        self.ports, self.serving = (dict(zip(NAMES, ports[start::2], strict=True)) for start in range(2))
        init_fleet(folder / "fleet", "trio")
        for number, name in enumerate(NAMES):
            (folder / name).mkdir()
            issue(folder / "fleet", name, folder / f"{name}.pem")
            connect = ", ".join(f'"127.0.0.1:{port}"' for n, port in self.ports.items() if n != name)
            text = CONFIG.format(
                name=name, home=folder / name, bundle=folder / f"{name}.pem", port=self.ports[name],
                connect=connect, part=number, serving=self.serving[name],
            )  # fmt: skip
            (folder / f"{name}.toml").write_text(text)

    def own(self, name: str) -> FieldView:
        """What a node says of its own model."""
        return next(view for view in self.client(name).field() if view.me)


def ready(port: int) -> bool:
    """Whether a server has a model to answer with."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/v2/health/ready", timeout=patient_s(5)
        ) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    running = Fleet(tmp_path)
    yield running
    running.end()


def bad_model(base: Path, to: Path) -> None:
    """The same model with its last layer's weights in another order: it confuses all classes."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(base, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    last = [name for name in tensors if name.startswith("4.")]
    assert last
    save_file(
        {n: np.roll(t, 1, axis=0) if n in last else t for n, t in tensors.items()}, to, {"task": "digits"}
    )


def test_two_cameras_are_turned_and_learn_together(fleet: Fleet, tmp_path: Path) -> None:
    clients = {name: fleet.start(name) for name in NAMES}
    until(lambda: all(len(c.snapshot().neighbours) == 2 for c in clients.values()), patient_s(60))
    job = clients["ann"].train("digits", rounds=8, steps=40, min_nodes=3)
    until(lambda: clients["ann"].log(job).job.state == "finished", patient_s(120))
    base = tmp_path / "base.safetensors"
    clients["ann"].export(job, base)
    for client in clients.values():
        client.use(str(base), "")
    first = fleet.own("ann").version
    until(lambda: all(fleet.own(n).version == first for n in NAMES), patient_s(30))

    for name in NAMES:
        until(lambda name=name: ready(fleet.serving[name]), patient_s(30))
    cameras = {name: Camera(fleet.serving[name], seed=number) for number, name in enumerate(NAMES)}
    try:
        for camera in cameras.values():
            until(
                lambda camera=camera: len(camera.answers) > 1300,
                patient_s(120),
                lambda camera=camera: camera.failures[-3:],
            )
        for name in ("ann", "ben"):
            cameras[name].turn()
        for name in ("ann", "ben"):
            until(
                lambda name=name: fleet.own(name).labels_wanted,
                patient_s(60),
                lambda name=name: fleet.own(name),
            )
            cameras[name].label(60)
        assert not fleet.own("cat").labels_wanted
        until(lambda: fleet.own("ann").job or fleet.own("ben").job, patient_s(120), lambda: fleet.own("ann"))

        # a daemon dies in the middle; its server answers on
        asked = len(cameras["ben"].answers)
        fleet.processes["ben"].send_signal(signal.SIGKILL)
        fleet.processes["ben"].wait(patient_s(20))
        until(lambda: len(cameras["ben"].answers) > asked + 200, patient_s(60))
        fleet.start("ben")

        for name in ("ann", "ben"):
            cameras[name].label(60)  # what came after a job's start is held out
        for name in ("ann", "ben"):
            until(
                lambda name=name: fleet.own(name).reason == "adopted",
                patient_s(240),
                lambda name=name: fleet.said(name)[-3000:],
            )
        for name in ("ann", "ben"):
            version = fleet.own(name).version
            until(lambda name=name, v=version: cameras[name].answers[-200:][0][1] == v, patient_s(60))
            assert cameras[name].accuracy() > 0.7
        cat = fleet.own("cat")
        assert (cat.version, cat.reason, cat.need) == (first, "first", "")
        assert cameras["cat"].accuracy() > 0.9
        until(lambda: {v.reason for v in clients["cat"].field() if not v.me} == {"adopted"}, patient_s(60))

        # a bad candidate is refused with figures, forced in, and goes by itself
        bad, good = tmp_path / "bad.safetensors", fleet.own("ann").version
        bad_model(base, bad)
        with pytest.raises(MusterError, match=r"held-out labels, the model in use on .* not used; --force"):
            fleet.client("ann").use(str(bad), "")
        assert fleet.own("ann").version == good
        forced = fleet.client("ann").use(str(bad), "", force=True)
        assert fleet.own("ann").version == forced.version != good
        until(lambda: cameras["ann"].answers[-1][1] == forced.version, patient_s(30))
        cameras["ann"].label(60)
        until(lambda: fleet.own("ann").version == good, patient_s(120), lambda: fleet.own("ann"))
        assert fleet.own("ann").reason == "returned"
    finally:
        for camera in cameras.values():
            camera.close()
    for camera in cameras.values():
        assert not camera.failures
