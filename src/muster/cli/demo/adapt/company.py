"""Everybody who plays in the story: the fleet, what its nodes say of their models, and the generator."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from msgspec import structs

from muster.cli.demo.adapt.generator import Orders, Tally
from muster.cli.demo.adapt.news import news
from muster.cli.demo.adapt.programs import Generator
from muster.cli.demo.fleet import DemoFleet
from muster.cli.demo.preparation import task_name
from muster.cli.demo.views.frame import Frame
from muster.cli.demo.views.in_use import InUseLine
from muster.errors import MusterError
from muster.node.api.async_client import ask
from muster.node.api.client import typed
from muster.node.api.field_view import FieldView

T = TypeVar("T")
TICK_S = 0.25
LOOK_S = 1.0  # between looks at what a node says of its model
ANSWER_S = 2.0
SHOWN_OF = 20  # answers that an accuracy is shown of at least


class Company:
    """`observe` brings it up to date; `until` does so until something is so."""

    def __init__(
        self, fleet: DemoFleet, generator: Generator, cameras: tuple[str, ...], show: Callable[[Frame], None]
    ) -> None:
        self.fleet, self.generator, self.cameras = fleet, generator, cameras
        self.task = task_name(fleet.request.task)
        self.views: dict[str, FieldView] = {}
        self.orders = {name: Orders(name, rate=0.0) for name in fleet.names}
        self._show = show
        self._looked_s = 0.0

    def order(self, name: str, learn: int = 0, check: int = 0, **changes: Any) -> None:
        """Change what a node's camera does; `learn` and `check` are labels beside those ordered before."""
        self.orders[name] = structs.replace(self.orders[name], **changes)
        self.generator.order(structs.replace(self.orders[name], learn=learn, check=check))

    def tally(self, name: str) -> Tally:
        return self.generator.tally.get(name, Tally())

    def accuracy(self, name: str) -> float | None:
        """Of the newest answers of the model that is in use there; None: there are too few."""
        tally = self.tally(name)
        return tally.right / tally.of if tally.of >= SHOWN_OF else None

    async def observe(self) -> None:
        """Ask all nodes, and say what has changed."""
        await self.fleet.observe()
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            alive = [name for name in self.fleet.names if name not in self.fleet.gone]
            for view in await asyncio.gather(*map(self._view, alive)):
                if view is not None:
                    for line in news(self.views.get(view.node), view):
                        self.fleet.say(line)
                    self.views[view.node] = view
        if why := self.generator.ended:
            raise MusterError("failed", f"the generator of requests ended: {why}")
        self._show(self.frame())

    async def _view(self, name: str) -> FieldView | None:
        """What a node says of its own model."""
        with contextlib.suppress(MusterError):
            views = typed(await ask(self.fleet.home(name), "field", ANSWER_S), list[FieldView])
            return next((view for view in views if view.me and view.task == self.task), None)
        return None

    async def until(self, done: Callable[[], bool], what: str, limit_s: float) -> None:
        """Wait for something, and show what happens. Raises MusterError where it does not come."""
        self.fleet.phase = what
        end_s = time.monotonic() + limit_s
        while not done():
            await self.observe()
            if time.monotonic() > end_s:
                waits = "; ".join(f"{v.node}: {v.waits}" for v in self.views.values() if v.waits)
                raise MusterError(
                    "failed", f"{what}: not within {limit_s:g} s{f' ({waits})' if waits else ''}"
                )
            await asyncio.sleep(TICK_S)
        await self.observe()

    async def during(self, work: Coroutine[Any, Any, T], what: str, limit_s: float) -> T:
        """What `work` returns; shows what happens meanwhile. Raises as it does, and MusterError."""
        task = asyncio.ensure_future(work)
        try:
            await self.until(task.done, what, limit_s)
            return task.result()
        finally:
            task.cancel()

    def frame(self) -> Frame:
        """The fleet's frame, with a line a node for the model in use."""
        frame = self.fleet.frame()
        states = {row.name: row.state for row in frame.nodes}
        return replace(
            frame, in_use=tuple(self._line(name, states.get(name, "")) for name in self.fleet.names)
        )

    def _line(self, name: str, state: str) -> InUseLine:
        tally, view = self.tally(name), self.views.get(name)
        return InUseLine(
            name, state, self.orders[name].turned, tally.version, view.reason if view else "",
            self.accuracy(name), tally.requests, tally.failed, tally.mixed, tally.labelled,
            view.labels_wanted if view else 0, tuple(view.alike) if view else (),
        )  # fmt: skip
