"""An HTTP server inside a program that has other things to do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Generator

import uvicorn
from starlette.types import ASGIApp

CONNECTIONS_MAX = 256
KEEP_ALIVE_S = 5  # that a connection is kept without a request


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # signals are the program's own business


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    sock: socket.socket,
    end_streams: Callable[[], None] = lambda: None,
    connections_max: int = CONNECTIONS_MAX,
    keep_alive_s: int = KEEP_ALIVE_S,
) -> AsyncIterator[None]:
    """The application answers on `sock` meanwhile; `end_streams` is called before it is ended."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections_max,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=1,  # for a stream whose reader takes nothing any more
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if task.done():
            await task
        yield
    finally:
        end_streams()
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await task
        sock.close()
