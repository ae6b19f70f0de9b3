"""The client of a control socket for a thread that waits. It imports no asyncio: commands start quickly.

Raises OSError when nobody listens (TimeoutError when the answer takes too long), EOFError when the other end
closes before its answer, and the MusterError that the other end answered with. The caller knows whose socket
it is and says so.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from muster.control.lines import ANSWER_BYTES_MAX, opened, request_line, whole


class BlockingConnection:
    """An open connection that blocks its thread; one request at a time."""

    def __init__(self, opened_socket: socket.socket) -> None:
        self._socket = opened_socket

    def ask(self, op: str, **arguments: Any) -> Any:
        """The value of "ok" in the answer."""
        self._socket.sendall(request_line(op, arguments))
        with self._socket.makefile("rb") as lines:
            return opened(whole(lines.readline(ANSWER_BYTES_MAX)))

    def stream(self, op: str, *, pause_s: float, **arguments: Any) -> Iterator[Any | None]:
        """The items of a stream as they come; None whenever `pause_s` passed without one."""
        self._socket.sendall(request_line(op, arguments))
        self._socket.settimeout(pause_s)
        rest = b""
        while True:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                yield None
                continue
            if not data or len(rest) > ANSWER_BYTES_MAX:
                raise EOFError
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield opened(line, "event")


@contextlib.contextmanager
def connected_blocking(path: Path, timeout_s: float) -> Iterator[BlockingConnection]:
    """A connection to the socket at `path`, closed at the end; each wait lasts at most `timeout_s`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        yield BlockingConnection(connection)
