"""Writes to systemd's journal: its native protocol in a few lines, without its library.

A message is one datagram of fields: "KEY=value" lines, or for a value of several lines the key, its length as
eight bytes and the value (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from muster.node.log.lines import PRIORITIES, LogLine, with_trace

SOCKET = Path("/run/systemd/journal/socket")
MESSAGE_BYTES_MAX = 48 * 1024  # a larger datagram may not fit into the socket's buffer


def leads_to_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Whether systemd connected this descriptor to the journal: $JOURNAL_STREAM is its "device:inode"."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def fields(line: LogLine, node: str) -> dict[str, str]:
    """What the journal keeps of a line; `journalctl MUSTER_JOB=...` finds it."""
    values = {
        "MESSAGE": with_trace(line),
        "PRIORITY": str(PRIORITIES[line.level]),
        "SYSLOG_IDENTIFIER": "muster",
        "MUSTER_NODE": node,
        "MUSTER_PART": line.part,
        "MUSTER_JOB": line.job,
        "MUSTER_ABOUT": line.about,
    }
    return {key: value for key, value in values.items() if value}


def encoded(values: Mapping[str, str]) -> bytes:
    """The fields as a datagram."""
    parts = []
    for key, value in values.items():
        raw = value.encode(errors="replace")[:MESSAGE_BYTES_MAX]
        if b"\n" in raw:
            parts.append(key.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n")
        else:
            parts.append(key.encode() + b"=" + raw + b"\n")
    return b"".join(parts)


def with_prefix(line: LogLine) -> str:
    """For standard output: the level as sd-daemon(3) has it, before each line of the text."""
    level = f"<{PRIORITIES[line.level]}>"
    return "\n".join(level + text for text in with_trace(line).splitlines())


class Journal:
    """A socket to the journal; what it does not take goes to standard output, with its level in front."""

    def __init__(self, node: str, path: Path = SOCKET) -> None:
        self._node, self._path = node, path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)  # a journal that is full must not hold the node up

    def write(self, line: LogLine) -> None:
        try:
            self._socket.sendto(encoded(fields(line, self._node)), str(self._path))
        except OSError:
            with contextlib.suppress(OSError):
                print(with_prefix(line), flush=True)

    def close(self) -> None:
        self._socket.close()
