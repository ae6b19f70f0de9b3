"""Lets the engine dial addresses that are valid on one interface only, such as fe80::1%eth0.

The engine takes the interface for a part of the server's name, which no certificate library accepts (zenoh
1.10.2).  So it dials a port on loopback here, from which packets go on to the address and back.  They pass
through the event loop: that is enough for some thousand packets a second, and nothing else takes this path.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable

from muster.network.transport.endpoints import Endpoint

LOOPBACK = "127.0.0.1"
PACKET_BYTES_MAX = 65536
PACKETS_AT_ONCE = 32  # before others get the loop


class ScopedEndpoints:
    """Ports on loopback that stand for endpoints with an interface."""

    def __init__(self) -> None:
        self._relays: dict[Endpoint, ScopedRelay] = {}  # by the endpoint that is meant

    def local(self, points: Iterable[Endpoint]) -> list[Endpoint]:
        """What the engine is to dial for these endpoints; to be called on the loop."""
        return [self._of(point).local if "%" in point.host else point for point in points]

    def meant(self, dialled: Endpoint) -> Endpoint:
        """The endpoint that is meant by one that the engine dialled."""
        return next((p for p, relay in self._relays.items() if relay.local == dialled), dialled)

    def close(self) -> None:
        for relay in self._relays.values():
            relay.close()
        self._relays.clear()

    def _of(self, point: Endpoint) -> ScopedRelay:
        if point not in self._relays:
            self._relays[point] = ScopedRelay(point)
        return self._relays[point]


class ScopedRelay:
    """Passes packets between the engine, on loopback, and one far endpoint.

    The engine has one link to it at a time: what comes back goes to the port from which it sent last.
    """

    def __init__(self, point: Endpoint) -> None:
        self._point = point
        self._loop = asyncio.get_running_loop()
        self._near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._near.bind((LOOPBACK, 0))
        self._far: socket.socket | None = None  # none while there is no such interface
        self._engine: tuple[str, int] | None = None
        self.local = Endpoint(LOOPBACK, self._near.getsockname()[1])
        self._loop.add_reader(self._near, self._out)

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.remove_reader(self._near)
        self._near.close()
        self._leave()

    def _out(self) -> None:
        with contextlib.suppress(OSError):  # nothing more
            for _ in range(PACKETS_AT_ONCE):
                packet, self._engine = self._near.recvfrom(PACKET_BYTES_MAX)
                try:
                    self._reach().send(packet)
                except BlockingIOError:  # its queue is full: a packet may be lost
                    pass
                except OSError:  # the interface went, or is another one by now
                    self._leave()

    def _back(self) -> None:
        assert self._far is not None
        try:
            for _ in range(PACKETS_AT_ONCE):
                packet = self._far.recv(PACKET_BYTES_MAX)
                if self._engine is not None:
                    self._near.sendto(packet, self._engine)
        except BlockingIOError:
            pass
        except OSError:
            self._leave()

    def _reach(self) -> socket.socket:
        """Raises OSError while there is no such interface."""
        if self._far is None:
            host, _, interface = self._point.host.partition("%")
            scope = int(interface) if interface.isdigit() else socket.if_nametoindex(interface)
            far = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                far.connect((host, self._point.port, 0, scope))
            except OSError:
                far.close()
                raise
            self._far = far
            self._loop.add_reader(far, self._back)
        return self._far

    def _leave(self) -> None:
        far, self._far = self._far, None
        if far is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.remove_reader(far)
            far.close()
