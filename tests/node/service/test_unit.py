"""The systemd unit: what is in it, and that systemd understands it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from muster.node.health import LOOK_S
from muster.node.service.unit import WATCHDOG_S, Service, is_memory, template, unit

SERVICE = Service(
    "alpha", "muster", Path(sys.executable), Path("/etc/muster/alpha.toml"), Path("/var/lib/muster/alpha")
)


def parsed(text: str) -> configparser.ConfigParser:
    read = configparser.ConfigParser(interpolation=None, strict=True)
    read.optionxform = str  # type: ignore[method-assign,assignment]
    read.read_string(text)
    return read


def test_the_unit_restarts_a_node_for_ever_and_watches_it() -> None:
    service = parsed(unit(SERVICE, 252))["Service"]
    assert (service["Type"], service["Restart"], service["User"]) == ("notify", "always", "muster")
    assert int(service["WatchdogSec"]) == WATCHDOG_S > 10 * LOOK_S
    assert parsed(unit(SERVICE, 252))["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["RestartPreventExitStatus"] == "2 3 10"  # usage, config, fleet
    assert service["KillMode"] == "process"
    assert "RestartSteps" not in service  # of systemd 254 and later
    later = parsed(unit(SERVICE, 254))["Service"]
    assert (later["RestartSteps"], later["RestartMaxDelaySec"]) == ("6", "300")


def test_the_unit_is_hardened_and_leaves_what_nodes_need() -> None:
    service = parsed(unit(SERVICE, 252))["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == service["PrivateTmp"] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["StateDirectory"] == "muster"
    assert service["ProtectHome"] == "read-only"  # tasks and their data may be there
    assert "AF_NETLINK" in service["RestrictAddressFamilies"]
    # Each of these closes off graphics processors, or what compiles while it computes.
    assert not {"PrivateDevices", "ProtectClock", "DevicePolicy", "MemoryDenyWriteExecute"} & service.keys()


def test_a_home_elsewhere_is_writable() -> None:
    assert "ReadWritePaths" not in parsed(unit(SERVICE, 252))["Service"]
    there = unit(replace(SERVICE, home=Path("/srv/a home")), 252)
    assert parsed(there)["Service"]["ReadWritePaths"] == '"/srv/a home"'
    assert '--home "/srv/a home"' in there


def test_memory_is_a_size_or_a_part() -> None:
    def limits(memory: str) -> tuple[str, str]:
        service = parsed(unit(replace(SERVICE, memory=memory), 252))["Service"]
        return service["MemoryHigh"], service["MemoryMax"]

    assert limits("80%") == ("70%", "80%")
    assert limits("1GB") == ("875000000", "1000000000")
    assert all(map(is_memory, ("80%", "1%", "500MB", "2G")))
    assert not any(map(is_memory, ("0%", "101%", "much", "1MB", "%")))


def test_words_mean_what_they_say() -> None:
    odd = replace(SERVICE, arguments=("--connect", "fe80::1%eth0:7447", "--name", "a$b"))
    assert "--connect fe80::1%%eth0:7447 --name a$$b" in unit(odd, 252)


def test_the_template_is_of_any_node() -> None:
    text = template(Path("/opt/muster/bin/muster"), 252)
    command = parsed(text)["Service"]["ExecStart"]
    assert command == "/opt/muster/bin/muster node --config /etc/muster/%i.toml --home /var/lib/muster/%i"
    assert parsed(text)["Unit"]["Description"] == "Muster node %i"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("text", [unit(SERVICE, 252), unit(replace(SERVICE, home=Path("/srv/a b")), 252)])
def test_systemd_understands_the_unit(text: str, tmp_path: Path) -> None:
    path = tmp_path / "muster@alpha.service"
    path.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    path.write_text(text.replace("ProtectSystem=strict", "ProtectSystem=stritc"))
    wrong = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    assert "stritc" in wrong.stderr
