"""The node that the page looks at: its view as it changes, and requests to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muster.dashboard.state_merger import StateMerger
from muster.errors import MusterError
from muster.node.api import async_client

SILENT_S = 3.0
RETRY_S = 0.7
LOOK_S = 0.5


class NodeSource:
    """Follows the node whose home is `home()`, and the next one when that changes."""

    def __init__(self, merger: StateMerger, home: Callable[[], Path]) -> None:
        self._merger, self._home = merger, home
        self._state, self._since_t = "", 0.0
        self._was_live = False  # at the start it is no news that a node is not up yet
        self._heard = False  # since the last time that it was lost

    async def ask(self, op: str, timeout_s: float, **arguments: Any) -> Any:
        return await async_client.ask(self._home(), op, timeout_s, **arguments)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            home = self._home()
            following = asyncio.ensure_future(self._follow(home))
            try:
                while not following.done() and self._home() == home:
                    await asyncio.wait({following}, timeout=LOOK_S)
                    self._judge()
            finally:
                following.cancel()
                reason = "the node has ended"
                try:
                    await following
                except asyncio.CancelledError:
                    reason = ""
                except (OSError, MusterError, ValueError):
                    reason = f"no node answers in {home}"
            if reason:
                self._heard = False
                self._set_state("lost", reason)
                await asyncio.sleep(RETRY_S)

    async def _follow(self, home: Path) -> None:
        first = True
        async for piece in async_client.watch(home):
            self._merger.see(piece, first=first)
            first, self._heard = False, True
            self._judge()

    def _judge(self) -> None:
        if not self._heard:
            return
        feed = self._merger.feed
        quiet_s = feed.t() - feed.fresh_t
        if quiet_s < SILENT_S:
            self._set_state("live", "")
        elif self._state == "live":
            self._set_state("silent", "the node is there but does not answer: it is paused or busy")

    def _set_state(self, state: str, reason: str) -> None:
        if state == self._state:
            return
        feed = self._merger.feed
        self._since_t = feed.t() if state == "live" else feed.fresh_t
        if state != "live" and self._was_live:
            feed.add_line("page", reason)
        elif state == "live" and self._was_live:
            feed.add_line("page", "the node answers again")
        self._state, self._was_live = state, self._was_live or state == "live"
        feed.describe({"source": {"state": state, "since_t": self._since_t, "reason": reason}})
