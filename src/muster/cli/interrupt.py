"""Ctrl-C and SIGTERM in commands that start processes: the first ends them in order, the second at once.

At once is safe: programs in an emulated network die with this process, and the air sweeps what is left.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from muster.errors import EXIT_CODES, MusterError

T = TypeVar("T")


def run_until_interrupted(main: Callable[[], Awaitable[T]]) -> T:
    """Run `main` in a new loop. Raises MusterError("interrupted") once it has cleaned up after a signal."""
    interrupted = False

    async def body() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main())

        def on_signal() -> None:
            nonlocal interrupted
            if interrupted:
                os._exit(EXIT_CODES["interrupted"])
            interrupted = True
            click.echo("\nending what was started (Ctrl-C again: at once)", err=True)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal)
        return await task

    try:
        return asyncio.run(body())
    except asyncio.CancelledError as error:
        raise MusterError("interrupted", "interrupted; nothing that was started is left") from error
