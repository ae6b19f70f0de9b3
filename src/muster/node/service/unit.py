"""The text of a systemd unit for one node.

What is left out of the usual hardening, and why: PrivateDevices and ProtectClock close GPUs off (the latter
by the DeviceAllow= that it implies), MemoryDenyWriteExecute breaks what compiles while it computes (torch
does), SystemCallFilter would have to know every framework that a task may use, ProcSubset hides the machine's
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from muster.errors import EXIT_CODES
from muster.node.config import SERVICE_HOMES
from muster.protocol.quantities import parse_size

STATE = SERVICE_HOMES  # what StateDirectory=muster makes
SETTINGS = Path("/etc/muster")
UNITS = Path("/etc/systemd/system")
WATCHDOG_S = 120  # HealthWatch answers every 5 s; a loop is late after 15
BACK_OFF_SYSTEMD = 254  # the first version with RestartSteps

# What a command line that is wrong ends with: it is wrong again at the next start (errors.EXIT_CODES).
FINAL_CODES = ("usage", "config", "fleet")
MEMORY_MIN_BYTES = 100_000_000  # the daemon alone takes more than half of it

HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectProc=invisible
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
UMask=0077"""


@dataclass(frozen=True)
class Service:
    """One node as a service."""

    name: str  # of the node
    user: str
    program: Path  # the command `muster`
    config: Path
    home: Path
    arguments: tuple[str, ...] = ()  # more of `muster node`
    memory: str = (
        "80%"  # MemoryMax of daemon, trainer and servers together; a size, or a part of the machine's
    )


def unit_name(name: str) -> str:
    """Of the unit of the node called `name`."""
    return f"muster@{name}.service"


def unit(service: Service, systemd: int) -> str:
    """The unit's text, for a systemd of that version."""
    command: list[str | Path] = [service.program, "node", "--config", service.config, "--home", service.home]
    command += service.arguments
    back_off = "RestartSteps=6\nRestartMaxDelaySec=300\n" if systemd >= BACK_OFF_SYSTEMD else ""
    outside = "" if service.home.is_relative_to(STATE) else f"ReadWritePaths={_quoted([service.home])}\n"
    return f"""\
# Written by 'muster service install'. Settings of the node: {service.config}
[Unit]
Description=Muster node {service.name}
After=network.target time-sync.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User={service.user}
ExecStart={_quoted(command)}
Environment=XDG_DATA_HOME={STATE.parent} MUSTER_DEBUG=1
StateDirectory=muster
StateDirectoryMode=0700
{outside}WatchdogSec={WATCHDOG_S}
TimeoutStartSec=600
TimeoutStopSec=60
Restart=always
RestartSec=5
{back_off}RestartPreventExitStatus={" ".join(str(EXIT_CODES[code]) for code in FINAL_CODES)}
# The servers of models outlive a daemon that dies; one that is stopped ends them itself.
KillMode=process
# Without memory the trainer dies, and the daemon says so and goes on.
OOMPolicy=continue
MemoryHigh={_high(service.memory)}
MemoryMax={_max(service.memory)}
LimitNOFILE=65536
Nice=5
{HARDENING}

[Install]
WantedBy=multi-user.target
"""


def template(program: Path, systemd: int) -> str:
    """The unit of any node, for the Debian package; the node's settings are in /etc/muster/NAME.toml."""
    name = "NAME"
    any_node = Service(name, "muster", program, SETTINGS / f"{name}.toml", STATE / name)
    head = "# Settings of a node: /etc/muster/NAME.toml, from 'muster service install'"
    return "\n".join([head, *unit(any_node, systemd).replace(name, "%i").splitlines()[1:], ""])


def _high(memory: str) -> str:
    """Where the kernel begins to take memory back: an eighth below the limit."""
    if memory.endswith("%"):
        return f"{float(memory[:-1]) * 7 / 8:g}%"
    return str(round((parse_size(memory) or 0) * 7 / 8))


def _max(memory: str) -> str:
    return memory if memory.endswith("%") else str(round(parse_size(memory) or 0))


def is_memory(text: str) -> bool:
    """Whether it is a size, or a part of the machine's memory in per cent."""
    if text.endswith("%"):
        return text[:-1].isdigit() and 1 <= int(text[:-1]) <= 100
    return (parse_size(text) or 0) >= MEMORY_MIN_BYTES


def _quoted(arguments: Sequence[str | Path]) -> str:
    """A command line as systemd reads it: its own specifiers (%) and variables ($) are meant literally."""
    return " ".join(_argument(str(argument).replace("%", "%%").replace("$", "$$")) for argument in arguments)


def _argument(text: str) -> str:
    plain = text and not any(c.isspace() or c in "\"'\\;" for c in text)
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
