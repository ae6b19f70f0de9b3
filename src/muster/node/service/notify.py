"""Tells systemd how the daemon is: sd_notify(3) in a few lines, without its library."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


def notify(message: str, environment: Mapping[str, str]) -> None:
    """Tell systemd, if it wants to hear ($NOTIFY_SOCKET): READY=1, STATUS=..., WATCHDOG=1, STOPPING=1."""
    path = environment.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect("\0" + path[1:] if path[0] == "@" else path)
        sender.send(message.encode())


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Seconds after which systemd takes the process for dead (WatchdogSec); None: it does not look."""
    text, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    ours = pid in ("", str(os.getpid()))
    return int(text) / 1e6 if ours and text.isascii() and text.isdigit() and int(text) else None
