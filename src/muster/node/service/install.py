"""Puts a node's unit where systemd finds it, starts it, looks at it and takes it away again. Needs root."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from muster.errors import MusterError
from muster.node.service.unit import SETTINGS, STATE, UNITS, Service, unit, unit_name

RUNNING = Path("/run/systemd/system")  # there where systemd runs the machine (sd_booted)
LIMIT_S = 120.0
GPU_GROUPS = ("render", "video")  # whom the devices of graphics processors belong to
_SHOWN = ("ActiveState", "SubState", "StatusText", "MainPID", "NRestarts", "Result", "MemoryCurrent", "User")


class ServiceState(msgspec.Struct, frozen=True):
    """What systemd says of one node's service."""

    name: str  # of the node
    unit: str
    state: str  # active, activating, failed, inactive
    status: str  # what the node says it does
    pid: int  # 0: none
    restarts: int
    result: str  # of its last end: success, exit-code, watchdog, oom-kill ...
    memory_bytes: int | None
    user: str


@dataclass(frozen=True)
class Machine:
    """Where the files of services are; other places for tests."""

    units: Path = UNITS
    settings: Path = SETTINGS
    state: Path = STATE
    running: Path = RUNNING
    systemctl: tuple[str, ...] = ("systemctl",)
    root: bool = field(default_factory=lambda: os.geteuid() == 0)

    def need(self) -> None:
        """Raises MusterError("service") where services cannot be changed."""
        if not self.running.is_dir():
            raise MusterError(
                "service",
                "systemd does not run this machine: let its own service manager run 'muster node', or look "
                "at the unit with --print",
            )
        if not self.root:
            raise MusterError(
                "service", "services are root's: run this with sudo, or look at the unit with --print"
            )

    def control(self, *argv: str) -> str:
        """What systemctl prints. Raises MusterError("service") with what it says."""
        return _run((*self.systemctl, *argv), called=f"systemctl {argv[0]}")

    def version(self) -> int:
        """Of systemd; 0 where it is not installed."""
        with contextlib.suppress(MusterError, IndexError, ValueError):
            return int(self.control("--version").split()[1])
        return 0

    def installed(self) -> list[str]:
        """Names of the nodes that are services here, sorted: by a unit of their own, or by the Debian
        package's for all."""
        units = {path.name for path in self.units.glob("muster@?*.service")}
        listed = self.control("list-units", "--all", "--plain", "--no-legend", "muster@*.service")
        units |= {line.split()[0] for line in listed.splitlines() if line.strip()}
        return sorted(name.removeprefix("muster@").removesuffix(".service") for name in units)


def program() -> Path:
    """The command `muster` of this installation."""
    beside = Path(sys.executable).parent / "muster"
    found = str(beside) if beside.exists() else shutil.which("muster")
    if found is None:
        raise MusterError(
            "service", f"there is no command 'muster' beside {sys.executable}: install it first"
        )
    return Path(found).absolute()


def put(machine: Machine, service: Service, bundle: Path | None, settings: dict[str, object]) -> list[str]:
    """Write settings, bundle and unit of a node, and start it; a sentence for each thing that was done.

    `settings` become its node.toml, unless that exists.
    """
    machine.need()
    lines = _user(service.user, machine.state)
    account = pwd.getpwnam(service.user)
    path = machine.units / unit_name(service.name)
    try:
        machine.settings.mkdir(mode=0o755, parents=True, exist_ok=True)
        if bundle is not None:
            kept = machine.settings / f"{service.name}.pem"
            _write(kept, bundle.read_bytes(), 0o600, account)
            lines.append(f"{kept} is its bundle, readable by {service.user} only; {bundle} is needed no more")
        if not service.config.exists():
            _write(service.config, tomli_w.dumps(settings).encode(), 0o644, None)
            lines.append(f"{service.config} has its settings")
        if not service.home.is_relative_to(machine.state):
            service.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chown(service.home, account.pw_uid, account.pw_gid)
        _try_as(account, service)
        _write(path, unit(service, machine.version()).encode(), 0o644, None)
    except OSError as error:
        raise MusterError("service", f"{error.filename} cannot be written: {error.strerror}") from error
    machine.control("daemon-reload")
    machine.control("enable", path.name)
    machine.control("restart", path.name)
    return [*lines, f"{path.name} runs, now and after each start of this machine"]


def take_away(machine: Machine, name: str) -> str:
    """End a node's service and remove its unit; home, settings and bundle stay."""
    machine.need()
    path = machine.units / unit_name(name)
    if name not in (known := machine.installed()):
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise MusterError("service", f"no node {name!r} is a service here: {there}")
    machine.control("disable", "--now", path.name)
    path.unlink(missing_ok=True)
    machine.control("daemon-reload")
    return f"{path.name} is gone; the node's home, settings and bundle stay"


def state(machine: Machine, name: str) -> ServiceState:
    """How a node's service is. Raises MusterError("service")."""
    text = machine.control("show", unit_name(name), f"--property={','.join(_SHOWN)}")
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    memory = found.get("MemoryCurrent", "")
    known = memory.isdigit() and int(memory) < 1 << 63  # 2^64-1: nobody counts it
    return ServiceState(
        name,
        unit_name(name),
        found.get("ActiveState", ""),
        found.get("StatusText", ""),
        int(found.get("MainPID") or 0),
        int(found.get("NRestarts") or 0),
        found.get("Result", ""),
        int(memory) if known else None,
        found.get("User", ""),
    )


def _user(name: str, home: Path) -> list[str]:
    """Make the system user, unless it is there."""
    with contextlib.suppress(KeyError):
        pwd.getpwnam(name)
        return []
    there = {group.gr_name for group in grp.getgrall()}
    groups = [group for group in GPU_GROUPS if group in there]
    argv = ["useradd", "--system", "--home-dir", str(home), "--shell", "/usr/sbin/nologin", "--user-group"]
    argv += ["--groups", ",".join(groups)] if groups else []
    _run([*argv, name])
    return [f"the user {name} is new"]


def _try_as(account: pwd.struct_passwd, service: Service) -> None:
    """Let the user read the settings by the command that will run. Raises MusterError("service")."""
    argv = [str(service.program), "node", "--check", "--config", str(service.config)]
    try:
        _run([*argv, "--home", str(service.home), *service.arguments], account)
    except MusterError as error:
        raise MusterError("service", f"the user {service.user} cannot run this node: {error}") from error


def _run(argv: Sequence[str], user: pwd.struct_passwd | None = None, called: str = "") -> str:
    """What a command prints, run as a user. Raises MusterError("service") with what it says."""
    as_user: dict[str, Any] = (
        {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
        if user is not None and user.pw_uid != os.geteuid()
        else {}
    )
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=LIMIT_S, cwd="/", **as_user
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MusterError("service", f"{called or argv[0]} did not work: {error}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:300]
        raise MusterError("service", f"{called or argv[0]} failed: {said or done.returncode}")
    return done.stdout


def _write(path: Path, content: bytes, mode: int, owner: pwd.struct_passwd | None) -> None:
    """All of it or nothing, never with more rights than `mode`; over what is there."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(handle, "wb") as file:
        os.fchmod(handle, mode)
        if owner is not None:
            os.fchown(handle, owner.pw_uid, owner.pw_gid)
        file.write(content)
        file.flush()
        os.fsync(handle)
    temporary.replace(path)
