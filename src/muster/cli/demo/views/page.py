"""The page of a demo: it shows the view of the node that the demo watches, and can change the emulation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from muster.http.address import Address


@dataclass
class WatchedNode:
    """The home of the node whose view is shown (the demo changes it when that node is gone), and its page."""

    home: Path
    address: str = ""


@dataclass(frozen=True)
class Shown:
    """What became of the page."""

    lines: tuple[str, ...] = ()  # for the terminal
    in_browser: bool = False


@contextlib.asynccontextmanager
async def demo_page(
    watched: WatchedNode, where: Address | None, rundir: Path, title: str, *, browser: bool
) -> AsyncIterator[Shown]:
    """The page, from before the first node is up; nothing when `where` is None."""
    if where is None:
        yield Shown()
        return
    from muster.cli.browser import show
    from muster.dashboard.page import open_page

    async with open_page(lambda: watched.home, where, title=title, rundir=rundir) as opened:
        watched.address = opened.own
        yield Shown(tuple(opened.lines()), browser and show(opened.own))


async def until_ctrl_c() -> None:
    """Wait for the signal that ends a demo, which here is its proper end (see `interrupt`)."""
    task = asyncio.current_task()
    assert task is not None
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        task.uncancel()
