"""Where a node listens: at what was asked for, as far as this machine has the addresses, on ports that stay.

An address may come later (a VPN, a cable), and a name may get one: it is waited for, and the node listens on
the others meanwhile.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Any

from muster.network.transport.endpoints import DEFAULT_PORT, Endpoint
from muster.network.transport.zenoh.config import free_endpoint

LOOK_UP_S_MAX = 30.0  # for names: a resolver without a network takes its time


@dataclass(frozen=True)
class Listening:
    """Where to listen now, and what is waited for."""

    here: list[Endpoint]
    missing: list[Endpoint]


class ListeningPlaces:
    """Chooses the ports that nobody named, and keeps them once a session had them: others know them."""

    def __init__(self, wanted: list[Endpoint]) -> None:
        self._wanted = wanted
        self._chosen: dict[Endpoint | None, Endpoint] = {}  # by what was asked for; None: anything
        self._kept = False

    def now(self, *, look_up: bool = True) -> Listening:
        """Blocks while names are looked up; those that are not count as missing.

        Raises MusterError("port_in_use") when there is no port."""
        if not self._wanted:
            if None not in self._chosen:
                self._chosen[None] = free_endpoint(port=DEFAULT_PORT)
            return Listening([self._chosen[None]], [])
        missing = [point for point in self._wanted if not (look_up or point.address) or not is_here(point)]
        for point in self._wanted:
            if point not in missing and point not in self._chosen:
                self._chosen[point] = point if point.port else free_endpoint(point.host)
        return Listening([self._chosen[point] for point in self._wanted if point not in missing], missing)

    def opened(self) -> None:
        """A session listens on what was chosen last."""
        self._kept = True

    def choose_others(self) -> bool:
        """A port was taken in the last moment; whether others may be tried."""
        if self._kept or (self._wanted and all(point.port for point in self._wanted)):
            return False
        self._chosen.clear()
        return True


def is_here(point: Endpoint) -> bool:
    """Whether this machine has the address, or one that the name has."""
    try:
        found = socket.getaddrinfo(point.host, 0, type=socket.SOCK_DGRAM)
    except OSError:  # the name has no address, or the interface of a link-local one is not there
        return False
    return any(_can_bind(family, address) for family, _, _, _, address in found)


def _can_bind(family: int, address: tuple[Any, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(address)
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV)
    return True
