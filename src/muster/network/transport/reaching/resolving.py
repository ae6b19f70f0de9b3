"""Asks the system which addresses a host has; that may take long, so never on the loop."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Literal

from muster.network.transport.endpoints import Endpoint
from muster.network.transport.zenoh.threads import call_limited

ADDRESSES_MAX = 8  # of one name
RESOLVE_S_MAX = 5.0


@dataclass(frozen=True)
class Resolved:
    """The addresses of a host, in the system's order; none: and why."""

    addresses: tuple[str, ...] = ()
    fault: Literal["", "unknown name", "no name server", "no interface"] = ""


def resolve(point: Endpoint) -> Resolved:
    """What the system's resolver says now (hosts file, DNS, mDNS). Blocks."""
    try:
        found = socket.getaddrinfo(point.host, point.port, type=socket.SOCK_DGRAM)
    except socket.gaierror as error:
        if "%" in point.host:
            return Resolved(fault="no interface")
        away = error.errno in (socket.EAI_AGAIN, socket.EAI_SYSTEM)
        return Resolved(fault="no name server" if away else "unknown name")
    except (OSError, UnicodeError):  # a name that no name server can be asked for
        return Resolved(fault="unknown name")
    addresses = dict.fromkeys(_text(family, address) for family, _, _, _, address in found)
    return Resolved(tuple(addresses)[:ADDRESSES_MAX])


async def addresses_of(point: Endpoint) -> tuple[str, ...]:
    """The addresses of a host; none if nobody says which within `RESOLVE_S_MAX`."""
    try:
        return (await call_limited(lambda: resolve(point), RESOLVE_S_MAX)).addresses
    except TimeoutError:
        return ()


def _text(family: int, address: Any) -> str:
    """An address as a user would write it, with its interface if it is valid there only."""
    host = str(address[0])
    scope = int(address[3]) if family == socket.AF_INET6 else 0
    if not scope or "%" in host:
        return host
    try:
        return f"{host}%{socket.if_indextoname(scope)}"
    except OSError:  # it has just gone
        return host
