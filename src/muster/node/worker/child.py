"""The worker itself: makes one call after another, and ends when none comes.

A message is its length (u64, little-endian) and a pickle; only the daemon that started the process writes to
it.  What is printed goes to stderr.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import struct
import sys
import threading
from typing import IO

from muster.node.child_pipes import take_pipes

_LENGTH = struct.Struct("<Q")


def write_message(file: IO[bytes], body: bytes) -> None:
    """Raises OSError when nobody reads."""
    file.write(_LENGTH.pack(len(body)))
    file.write(body)
    file.flush()


def read_message(file: IO[bytes]) -> bytes | None:
    """The next message, or None at the end."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = file.read(length)
    return body if len(body) == length else None


def called(request: bytes) -> bytes:
    """The answer to a request: (True, what the call gave) or (False, what it raised)."""
    try:
        call, arguments = pickle.loads(request)
        return pickle.dumps((True, call(*arguments)), protocol=5)
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> bytes:
    answer = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
    try:
        whole = pickle.dumps((False, error))
        pickle.loads(whole)
    except Exception:  # an exception that does not come through: its text does
        return answer
    return whole


def serve(requests: IO[bytes], replies: IO[bytes], idle_s: float) -> None:
    """Answer requests until none comes for `idle_s`; the end of `requests` ends the process at once."""
    waiting: queue.Queue[bytes] = queue.Queue()

    def listen() -> None:
        while (request := read_message(requests)) is not None:
            waiting.put(request)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            request = waiting.get(timeout=idle_s)
        except queue.Empty:
            return
        write_message(replies, called(request))


def main() -> None:
    """Keep stdin and stdout for messages, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the daemon, which ends us
    with contextlib.suppress(BrokenPipeError):
        serve(*take_pipes(), float(sys.argv[1]))
    os._exit(0)


if __name__ == "__main__":
    main()
