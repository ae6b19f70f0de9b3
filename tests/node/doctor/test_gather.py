"""What the doctor sees of a real machine: homes, bundles, ports, the route to a neighbour, tasks."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from muster.cli.main import run
from muster.network.trust.identity import init_fleet, issue
from muster.node.config import NodeConfig
from muster.node.doctor import machine
from muster.node.doctor.gather import gather
from muster.node.doctor.ports import holder, ports
from muster.storage import database
from muster.storage.disk import DiskStore


@pytest.fixture(autouse=True)
def nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
    monkeypatch.delenv("MUSTER_HOME", raising=False)


def config(tmp_path: Path, **more: object) -> NodeConfig:
    return NodeConfig("alpha", tmp_path / "home", **more)  # type: ignore[arg-type]


def taken_port() -> socket.socket:
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))
    return taken


def test_a_home_is_read_without_opening_its_store(tmp_path: Path) -> None:
    found = machine.home(config(tmp_path))
    assert (found.there, found.fault, found.store_format) == (False, "", None)
    assert found.free_bytes > 0
    assert not (tmp_path / "home").exists()  # to look makes nothing
    store = DiskStore(tmp_path / "home")
    store.put_blob(bytes(5000))
    store.close()
    before = sorted((tmp_path / "home").iterdir())
    found = machine.home(config(tmp_path))
    assert (found.there, found.store_format, found.used_bytes) == (True, database.FORMAT, 5000)
    assert sorted((tmp_path / "home").iterdir()) == before


def test_a_home_in_which_nothing_can_be_written_says_why() -> None:
    found = machine.home(NodeConfig("alpha", Path("/proc/1/home")))
    assert "can write nothing in /proc/1" in found.fault


def test_the_clock_is_compared_with_what_the_home_saw(tmp_path: Path) -> None:
    assert machine.clock(tmp_path / "home").newest_s is None
    DiskStore(tmp_path / "home").close()
    os.utime(tmp_path / "home" / "store.sqlite", (4e9, 4e9))
    found = machine.clock(tmp_path / "home")
    assert found.newest_s == 4e9
    assert abs(found.now_s - time.time()) < 60
    assert found.synchronised in (True, False, None)


def test_a_bundle_is_read_with_its_dates_and_rights(tmp_path: Path) -> None:
    assert machine.bundle(config(tmp_path)).made_later
    init_fleet(tmp_path / "fleet", "orchard")
    path = issue(tmp_path / "fleet", "alpha")
    path.chmod(0o640)
    found = machine.bundle(config(tmp_path, bundle=path))
    assert (found.name, found.fleet, found.mode, found.fault) == ("alpha", "orchard", 0o640, "")
    assert found.from_s <= time.time() <= found.until_s
    assert "no bundle at" in machine.bundle(config(tmp_path, bundle=tmp_path / "none.pem")).fault


def test_a_port_that_is_taken_has_a_holder(tmp_path: Path) -> None:
    with taken_port() as taken:
        port = taken.getsockname()[1]
        (found,) = ports(config(tmp_path, listen=(f"127.0.0.1:{port}",)))
        assert (found.fault, found.asked) == ("taken", True)
        assert f"(pid {os.getpid()})" in found.holder
    assert holder(port) == ""
    free, elsewhere = ports(config(tmp_path, listen=(f"127.0.0.1:{port}", f"203.0.113.77:{port}")))
    assert (free.fault, elsewhere.fault) == ("", "no such address")
    (usual,) = ports(config(tmp_path))
    assert (usual.asked, usual.endpoint.endswith(":7447")) == (False, True)


def test_what_is_installed_is_known_without_importing_it() -> None:
    found = machine.packages()
    assert found["torch"]
    assert found["onnxruntime"]
    import torch

    assert machine.torch_has_cuda() == (torch.version.cuda is not None)
    total, free = machine.memory_bytes()
    assert 0 < free <= total


def test_a_neighbour_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with taken_port() as taken:
        port = taken.getsockname()[1]
    (route,) = gather(config(tmp_path, connect=(f"127.0.0.1:{port}",)), opens=False).routes
    assert f"UDP to 127.0.0.1:{port} is rejected" in route.why


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_node_is_looked_at_without_a_fault(tmp_path: Path) -> None:
    home = tmp_path / "state" / "alpha"
    DiskStore(home).close()
    (tmp_path / "state").chmod(0o700)
    for place in (tmp_path, *tmp_path.parents):
        if place.stat().st_uid == os.geteuid() and place.is_relative_to("/tmp/"):
            place.chmod(0o755)

    def look() -> str:
        os.setresuid(65534, 65534, 0)
        try:
            facts = gather(NodeConfig("alpha", home), opens=False)
        finally:
            os.setresuid(0, 0, 0)
        return f"{facts.daemon_fault}; {facts.home.fault}"

    assert "is another user's: run this with sudo; this user can write nothing" in look()


@pytest.mark.slow
def test_the_command_ends_with_the_code_of_what_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n")
    (tmp_path / "node.toml").write_text(
        'name = "alpha"\nhome = "home"\n[tasks.digits]\n[tasks.broken]\nfile = "broken.py"\n'
    )
    words = ["doctor", "--config", str(tmp_path / "node.toml")]
    assert run([*words, "--no-tasks", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["findings"]
    assert {"topic": "daemon", "level": "warn"}.items() <= told[0].items()
    assert run(words) == 7
    said = capsys.readouterr().out
    assert "ok    task        digits, version 1: " in said
    assert "fail  task        broken: " in said
    assert "no_such_module" in said
