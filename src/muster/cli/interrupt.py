"""Ctrl-C and SIGTERM in commands that start processes: the first ends them in order, the second at once.

At once is safe: programs in an emulated network die with this process, and the process that
carries its frames ends what is left in the namespaces.
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


def _nothing() -> None:
    pass


def run_until_interrupted(
    main: Callable[[], Awaitable[T]],
    *,
    on_first: Callable[[], None] = _nothing,
    on_second: Callable[[], None] = _nothing,
) -> T:
    """Run `main` in a new loop. Raises MusterError("interrupted") once it has cleaned up after a signal.

    `on_first` is called before the clean-up (to give the terminal back), `on_second` before leaving at once.
    """
    interrupted = False

    async def body() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main())

        def on_signal() -> None:
            nonlocal interrupted
            if interrupted:
                on_second()
                os._exit(EXIT_CODES["interrupted"])
            interrupted = True
            on_first()
            click.echo("\nending what was started (Ctrl-C again: at once)", err=True)
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal)
        return await task

    try:
        return asyncio.run(body())
    except asyncio.CancelledError as error:
        raise MusterError("interrupted", "interrupted; nothing that was started is left") from error
