"""Has a running Zenoh session dial whom this node wants, without a new session.

Zenoh takes configured endpoints only when it opens.  What it takes at any time are answers to its scouting:
so it scouts on loopback, in a group that only this process answers, and the answer (a Hello: session id and
locator) names who is to be dialled.  Attempts that come by one scouting socket wait for each other, up to
the time limit for opening, so there are several.  A Hello for a session to which there is a link, or that
is being dialled, is ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

GROUP = "224.0.0.224"
LOOPBACK = "127.0.0.1"
LANES = 8  # attempts at once
_SCOUT, _HELLO_WITH_LOCATORS, _PROTOCOL, _PEER = 0x01, 0x22, 9, 0x01
_BYTES_MAX = 512


class Dialler:
    """Gives orders to one session after the other; `settings` are for the next one's configuration."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._lanes: dict[tuple[str, int], None] = {}  # the one that was used longest ago first

    @property
    def ready(self) -> bool:
        """Whether the session takes orders: some milliseconds after it opened, if loopback was up then."""
        return bool(self._lanes)

    def settings(self) -> dict[str, Any]:
        """Zenoh's for the next session; the one before gets no more orders."""
        self.close()
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.bind((GROUP, 0))
            # After binding: the port is free for sure, and Zenoh may bind it, too.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            joined = socket.inet_aton(GROUP) + socket.inet_aton(LOOPBACK)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        except OSError:  # loopback is down
            self.close()
            return {"scouting/multicast/enabled": False}
        asyncio.get_running_loop().add_reader(self._socket, self._read, self._socket)
        return {
            "scouting/multicast/enabled": True,
            "scouting/multicast/address": f"{GROUP}:{self._socket.getsockname()[1]}",
            "scouting/multicast/interface": ",".join([LOOPBACK] * LANES),
        }

    def dial(self, session: str, locator: str) -> None:
        """Have the session with this id (hexadecimal) dialled at a locator; not before `ready`."""
        if self._socket is None or not self._lanes:
            return
        lane = next(iter(self._lanes))
        self._lanes[lane] = self._lanes.pop(lane)
        with contextlib.suppress(OSError):
            self._socket.sendto(hello(session, locator), lane)

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
        self._socket = None
        self._lanes.clear()

    def _read(self, from_socket: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, source = from_socket.recvfrom(_BYTES_MAX)
                if data[:1] == bytes([_SCOUT]) and source[0] == LOOPBACK and len(self._lanes) < 2 * LANES:
                    self._lanes.setdefault(source)


def hello(session: str, locator: str) -> bytes:
    """Zenoh's answer to a Scout: a peer with this session id can be reached at a locator.

    >>> hello("8" + "0" * 15, "quic/10.0.0.1:7447").hex()
    '22097100000000000000800112717569632f31302e302e302e313a37343437'
    """
    identifier = bytes.fromhex(session)[::-1]
    place = locator.encode()
    head = bytes([_HELLO_WITH_LOCATORS, _PROTOCOL, _PEER | (len(identifier) - 1) << 4])
    return head + identifier + bytes([1, len(place)]) + place
