"""Looks at the UDP ports that a node is to listen on: whether they can be had, and who has them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from muster.network.transport.endpoints import DEFAULT_PORT, Endpoint, endpoint
from muster.network.transport.zenoh.config import usual_host
from muster.network.transport.zenoh.listening import is_here
from muster.node.config import NodeConfig
from muster.node.doctor.facts import Port

_SOCKETS = ("/proc/net/udp", "/proc/net/udp6")


def ports(config: NodeConfig) -> tuple[Port, ...]:
    """Each endpoint of `listen`, or the usual one."""
    if not config.listen:
        return (_port(Endpoint(usual_host(), DEFAULT_PORT), asked=False),)
    return tuple(_port(endpoint(text), asked=True) for text in config.listen)


def _port(point: Endpoint, *, asked: bool) -> Port:
    if not is_here(point):
        return Port(str(point), asked, "no such address")
    try:
        found = socket.getaddrinfo(point.host, point.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return Port(str(point), asked, "taken", holder(point.port))
        return Port(str(point), asked, error.strerror or str(error))
    return Port(str(point), asked)


def holder(port: int) -> str:
    """The program that has a UDP port, such as "dnsmasq (pid 812)"; "" if it is another user's."""
    sockets = {f"socket:[{number}]" for table in _SOCKETS for number in _numbers(Path(table), port)}
    for process in Path("/proc").iterdir() if sockets else ():
        if process.name.isdigit() and sockets & _open_files(process):
            with contextlib.suppress(OSError):  # it has just ended
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def _open_files(process: Path) -> set[str]:
    """What a process has open; nothing of another user's."""
    found = set()
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(os.readlink(descriptor))
    return found


def _numbers(table: Path, port: int) -> list[str]:
    """The inodes of the sockets that are bound to a port."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[9] for row in rows if int(row[1].rpartition(":")[2], 16) == port]
