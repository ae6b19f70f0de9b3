"""Eight tasks of the zoo, one after another, on three real daemons with real trainer processes."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from animals import ZOO, animal
from safetensors.numpy import load_file

from muster.errors import MusterError
from muster.network.trust.identity import init_fleet, issue
from muster.node.api.client import Client
from patience import patient_s

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
NAMES = "abc"
TASKS = ("adamw", "dict_batch", "few_samples", "gan", "lazy", "lora", "stream", "workers")


class Daemons:
    """Three nodes on loopback; each has all eight tasks, with data of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        init_fleet(folder / "fleet", "zoo")
        ports = {name: _free_port() for name in NAMES}
        self._processes = [self._start(name, number, ports) for number, name in enumerate(NAMES)]
        self.clients = [Client(folder / name, timeout_s=60.0) for name in NAMES]
        for client in self.clients:
            until(lambda client=client: len(neighbours(client)) == 2, 60.0)  # type: ignore[misc]

    def _start(self, name: str, number: int, ports: dict[str, int]) -> subprocess.Popen[bytes]:
        home, bundle = self._folder / name, self._folder / f"{name}.pem"
        home.mkdir()
        issue(self._folder / "fleet", name, bundle)
        others = [f"127.0.0.1:{port}" for other, port in ports.items() if other < name]
        lines = [
            f'name = "{name}"\nhome = "{home}"\nbundle = "{bundle}"\ndiscovery = false',
            f'listen = ["127.0.0.1:{ports[name]}"]\nconnect = {others}',
        ]
        for stem in TASKS:
            lines.append(f'[tasks.{animal(stem).task}]\nfile = "{ZOO / stem}.py"\npart = {number}\nparts = 3')
        config = self._folder / f"{name}.toml"
        config.write_text("\n".join(lines))
        with (home / "output.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "muster.cli.main", "node", "--config", str(config)],
                cwd="/",  # a task's neighbours are found from anywhere
                stdout=log,
                stderr=subprocess.STDOUT,
                env={k: v for k, v in os.environ.items() if k != "MUSTER_HOME"},
            )

    def end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(patient_s(20))


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def neighbours(client: Client) -> list[str]:
    try:
        return [n.name for n in client.snapshot(timeout_s=2.0).neighbours]
    except MusterError:
        return []


def until(holds: Callable[[], bool], limit_s: float) -> None:
    end_s = time.monotonic() + patient_s(limit_s)
    while not holds():
        assert time.monotonic() < end_s, "it did not come about"
        time.sleep(0.1)  # processes are waited for: there is nothing to be told by


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    running = Daemons(tmp_path_factory.mktemp("zoo"))
    yield running
    running.end()


@pytest.mark.parametrize("stem", TASKS)
def test_three_daemons_train_it_together(stem: str, daemons: Daemons, tmp_path: Path) -> None:
    first, *others = daemons.clients
    job = first.train(animal(stem).task, rounds=2, steps=4, min_nodes=3, lr=0.05, codec="stc:0.2")

    def heads() -> set[str | None]:
        found = set()
        for client in daemons.clients:
            try:
                view = client.log(job).job
            except MusterError:  # it has not heard of the job yet
                return {None, ""}
            found.add(view.head if view.state == "finished" else None)
            assert view.state in ("running", "waiting", "finished"), view.why
        return found

    until(lambda: None not in (found := heads()) and len(found) == 1, 200.0)
    view = first.log(job).job
    assert view.round == 2
    assert {c.node for c in view.contributions if c.updates_counted} == set(NAMES), view.waits
    exported = first.export(job, tmp_path / "model.safetensors")
    tensors = load_file(exported.paths[0])
    assert tensors
    assert all(math.isfinite(float(abs(array).sum())) for array in tensors.values() if array.size)
    assert all(client.log(job).job.head == view.head for client in others)
