"""`muster service`: which files it writes, what it asks of systemctl, and what it says without systemd."""

from __future__ import annotations

import os
import pwd
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from muster.cli import home as cli_home
from muster.cli.main import run
from muster.errors import MusterError
from muster.network.trust.identity import init_fleet, issue
from muster.node.service.install import Machine, program, put, state, take_away
from muster.node.service.unit import Service

SYSTEMCTL = """#!/bin/sh
echo "$@" >> "{calls}"
case "$1" in
--version) echo "systemd 252 (252.38-1)";;
list-units) ;;
show) printf '%s\\n' ActiveState=active StatusText='idle, 2 neighbours in reach' MainPID=7 NRestarts=1 \\
    Result=success MemoryCurrent=18446744073709551615 User=muster;;
enable) test ! -e "{refuse}" || {{ echo 'Failed to enable unit: read-only' >&2; exit 1; }};;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a systemd of a few lines, whose calls are in the file `calls`."""
    script = tmp_path / "systemctl"
    script.write_text(SYSTEMCTL.format(calls=tmp_path / "calls", refuse=tmp_path / "refuse"))
    script.chmod(0o755)
    for name in ("units", "running"):
        (tmp_path / name).mkdir()
    places = [tmp_path / name for name in ("units", "etc", "state", "running")]
    return Machine(*places, systemctl=(str(script),), root=True)


def me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def service(machine: Machine) -> Service:
    etc, home = machine.settings, machine.state / "alpha"
    return Service("alpha", me(), program(), etc / "alpha.toml", home)


def test_a_node_becomes_a_service_and_is_none_again(machine: Machine, tmp_path: Path) -> None:
    bundle = tmp_path / "alpha.pem"
    bundle.write_bytes(b"a key")
    settings = {"name": "alpha", "connect": ["192.0.2.10:7447"]}
    said = put(machine, service(machine), bundle, settings)
    kept = machine.settings / "alpha.pem"
    assert kept.read_bytes() == b"a key"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert tomllib.loads((machine.settings / "alpha.toml").read_text()) == settings
    assert f"User={me()}" in (machine.units / "muster@alpha.service").read_text()
    assert said[-1] == "muster@alpha.service runs, now and after each start of this machine"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[-3:] == ["daemon-reload", "enable muster@alpha.service", "restart muster@alpha.service"]
    assert machine.installed() == ["alpha"]

    (machine.settings / "alpha.toml").write_text('name = "alpha"\nprofile = "narrow"\n')
    put(machine, service(machine), None, settings)  # once more: settings that a person wrote stay
    assert "narrow" in (machine.settings / "alpha.toml").read_text()

    assert "settings and bundle stay" in take_away(machine, "alpha")
    assert "disable --now muster@alpha.service" in (tmp_path / "calls").read_text()
    assert machine.installed() == []
    assert kept.exists()
    with pytest.raises(MusterError, match="no node 'alpha' is a service here: there is none"):
        take_away(machine, "alpha")


def test_the_state_is_what_systemd_says(machine: Machine) -> None:
    found = state(machine, "alpha")
    assert (found.state, found.status, found.pid, found.restarts) == (
        "active", "idle, 2 neighbours in reach", 7, 1,
    )  # fmt: skip
    assert found.memory_bytes is None  # 2^64 - 1: nobody counts it


def test_what_systemctl_refuses_is_one_sentence(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "refuse").touch()
    with pytest.raises(MusterError, match="systemctl enable failed: Failed to enable unit: read-only"):
        put(machine, service(machine), None, {"name": "alpha"})


def test_settings_that_the_user_cannot_use_are_found_before_the_start(
    machine: Machine, tmp_path: Path
) -> None:
    machine.settings.mkdir()
    (machine.settings / "alpha.toml").write_text("nmae = 'alpha'\n")
    with pytest.raises(MusterError, match=r"cannot run this node: .*unknown key 'nmae'"):
        put(machine, service(machine), None, {})
    assert not (machine.units / "muster@alpha.service").exists()


def test_services_are_roots_and_systemds(machine: Machine) -> None:
    with pytest.raises(MusterError, match="run this with sudo"):
        put(replace(machine, root=False), service(machine), None, {})
    machine.running.rmdir()
    with pytest.raises(MusterError, match="systemd does not run this machine"):
        put(machine, service(machine), None, {})


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs this machine")
def test_without_systemd_the_commands_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["install"], ["status"], ["uninstall", "--name", "alpha"]):
        assert run(["service", *words]) == 22
        assert "systemd does not run this machine" in capsys.readouterr().err


def test_the_unit_is_shown_before_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["service", "install", "--name", "alpha", "--connect", "192.0.2.10:7447", "--print"]) == 0
    text = capsys.readouterr().out
    assert f"{Path(sys.executable).parent}/muster node --config /etc/muster/alpha.toml" in text
    assert run(["service", "install", "--name", "-"]) == 2
    assert run(["service", "install", "--connect", "here:there", "--print"]) == 2
    assert run(["service", "install", "--memory", "much", "--print"]) == 2


def test_a_configuration_of_ones_own_keeps_its_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "node.toml"
    own.write_text('name = "bravo"\nhome = "there"\n')
    assert run(["service", "install", "--config", str(own), "--print"]) == 0
    text = capsys.readouterr().out
    assert f"--config {own} --home {tmp_path / 'there'} --name bravo" in text
    assert f"ReadWritePaths={tmp_path / 'there'}" in text
    own.write_text('name = "bravo"\n')
    assert run(["service", "install", "--config", str(own), "--print"]) == 0
    assert "--home /var/lib/muster/bravo" in capsys.readouterr().out


def test_a_bundle_of_another_name_is_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init_fleet(tmp_path / "fleet", "orchard")
    bundle = issue(tmp_path / "fleet", "alpha")
    assert run(["service", "install", "--bundle", str(bundle), "--print"]) == 0
    assert "Description=Muster node alpha" in capsys.readouterr().out
    assert run(["service", "install", "--bundle", str(bundle), "--name", "bravo", "--print"]) == 2
    assert "is the bundle of 'alpha', not of 'bravo'" in capsys.readouterr().err


def test_the_settings_of_a_service_are_found_by_its_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_DATA_HOME", "MUSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(cli_home, "SETTINGS", tmp_path)
    monkeypatch.setattr(cli_home, "SERVICE_HOMES", tmp_path / "state")
    monkeypatch.setattr(cli_home, "running", list)
    (tmp_path / "alpha.toml").write_text('name = "alpha"\nhome = "state/alpha"\nprofile = "narrow"\n')
    home, config = cli_home.home_and_config(None, None)  # it is down: the only service here
    assert (home, config.profile) == (tmp_path / "state/alpha", "narrow")
    _, config = cli_home.home_and_config(None, str(tmp_path / "state/alpha"))
    assert config.profile == "narrow"
    _, config = cli_home.home_and_config(None, str(tmp_path / "elsewhere/alpha"))
    assert config.profile == "auto"
    (tmp_path / "bravo.toml").touch()
    assert cli_home.home_and_config(None, None)[1].profile == "auto"  # two: nobody is meant
