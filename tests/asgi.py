"""Asking an ASGI application without a socket: one request, or a stream of events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class SseEvent:
    kind: str
    id: str | None
    data: Any


def scope(method: str, path: str, query: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    given = {"host": "localhost:7450", **(headers or {})}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "scheme": "http",
        "headers": [(k.lower().encode(), v.encode()) for k, v in given.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 7450),
    }


async def ask(
    app: Any, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> Reply:
    """One request; a body that is not bytes is sent as JSON."""
    path, _, query = path.partition("?")
    given = dict(headers or {})
    data = b""
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given.setdefault("content-type", "application/json")
    sent: list[dict[str, Any]] = []
    done = asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal data
        if data is not None:
            message, data = {"type": "http.request", "body": data, "more_body": False}, None  # type: ignore[assignment]
            return message
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope(method, path, query, given), receive, send)
    done.set()
    headers_out = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return Reply(sent[0]["status"], headers_out, b"".join(m.get("body", b"") for m in sent[1:]))


@contextlib.asynccontextmanager
async def events(
    app: Any, since: str = "", headers: dict[str, str] | None = None
) -> AsyncIterator[asyncio.Queue[SseEvent]]:
    """The events of one reader, as they come; it goes away at the end."""
    queue: asyncio.Queue[SseEvent] = asyncio.Queue()
    gone = asyncio.Event()
    rest = b""

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal rest
        *whole, rest = (rest + message.get("body", b"")).split(b"\n\n")
        for block in whole:
            fields = dict(line.split(": ", 1) for line in block.decode().splitlines())
            if "event" in fields:
                queue.put_nowait(SseEvent(fields["event"], fields.get("id"), json.loads(fields["data"])))

    query = f"since={since}" if since else ""
    task = asyncio.create_task(app(scope("GET", "/api/events", query, headers), receive, send))
    try:
        yield queue
    finally:
        gone.set()
        await task
