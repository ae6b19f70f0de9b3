"""Asks a daemon on this machine without blocking the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from muster.control.client import connected
from muster.control.lines import opened
from muster.errors import MusterError
from muster.node.api.client import SOCKET, ended, typed
from muster.node.api.snapshot import NodeEvent, Snapshot
from muster.protocol.envelope import UNREADABLE


class _SnapshotAnswer(msgspec.Struct):
    ok: Snapshot


_snapshot_answer = msgspec.json.Decoder(_SnapshotAnswer)


async def ask(home: Path, op: str, timeout_s: float, **arguments: Any) -> Any:
    """One request. Raises MusterError: no_node, timeout, or what the node says."""
    try:
        async with asyncio.timeout(timeout_s), connected(home / SOCKET) as connection:
            return await connection.ask(op, **arguments)
    except TimeoutError as error:
        raise MusterError(
            "timeout", f"the node in {home} has not answered within {timeout_s:g} s: try again"
        ) from error
    except EOFError as error:
        raise ended(home) from error
    except (OSError, ValueError) as error:
        raise MusterError("no_node", f"no node answers in {home}") from error


async def look(home: Path, timeout_s: float) -> Snapshot | None:
    """A snapshot; None when nobody answers in time (a paused or ended node)."""
    try:
        async with asyncio.timeout(timeout_s), connected(home / SOCKET) as connection:
            line = await connection.ask_line("snapshot")
    except (OSError, TimeoutError, EOFError, ValueError):
        return None
    try:
        return _snapshot_answer.decode(line).ok  # at once, without the step over plain values
    except UNREADABLE:
        return typed(opened(line), Snapshot)  # an error, with its own sentence


async def follow_events(home: Path, since: int) -> AsyncIterator[NodeEvent]:
    """Events after number `since`, until the node ends."""
    async with (
        connected(home / SOCKET) as connection,
        contextlib.aclosing(connection.stream("events", since=since)) as items,
    ):
        async for item in items:
            yield typed(item, NodeEvent)


async def watch(home: Path) -> AsyncIterator[dict[str, Any]]:
    """The node's view in pieces, as they change (node/api/rows/state_stream.py), until the node ends."""
    async with (
        connected(home / SOCKET) as connection,
        contextlib.aclosing(connection.stream("watch")) as items,
    ):
        async for item in items:
            yield item
