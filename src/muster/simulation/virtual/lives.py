"""Whose code is running: every callback and task of a simulated node belongs to one `Life` of its process.

The life is a context variable, which asyncio hands on to whatever a task starts, so that a node can be paused
(its callbacks wait, while time goes on) and its end can be checked (nothing of it is left).
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import weakref
from dataclasses import dataclass, field
from typing import Any

from muster.simulation.virtual.event_loop import VirtualLoop


@dataclass(eq=False)
class Life:
    """One run of one node's process, from its start to its end."""

    name: str
    paused: bool = False
    backlog: list[Any] = field(default_factory=list)


LIFE: contextvars.ContextVar[Life | None] = contextvars.ContextVar("life", default=None)


class LivesLoop(VirtualLoop):
    """A virtual loop in which lives can be paused."""

    def __init__(self, until_s: float = math.inf) -> None:
        super().__init__(until_s)
        self._life_of: weakref.WeakKeyDictionary[asyncio.Task[Any], Life] = weakref.WeakKeyDictionary()
        self._paused = 0
        self.set_task_factory(_new_task)

    def _holds(self, handle: Any) -> bool:
        life = handle._context.get(LIFE)
        if life is None or not life.paused:
            return False
        life.backlog.append(handle)
        return True

    def pause(self, life: Life) -> None:
        if not life.paused:
            life.paused = True
            self._paused += 1
            self._holding = True

    def resume(self, life: Life, read_s: float = 0.0) -> None:
        """Run what became due during the pause now, in order; what came from outside only after `read_s`."""
        if life.paused:
            life.paused = False
            self._paused -= 1
            self._holding = self._paused > 0
        backlog, life.backlog = life.backlog, []
        if read_s:
            came = [handle for handle in backlog if not isinstance(handle, asyncio.TimerHandle)]
            backlog = [handle for handle in backlog if isinstance(handle, asyncio.TimerHandle)]
            self.call_later(read_s, self._ready.extend, came, context=contextvars.Context())
        self._ready.extend(handle for handle in backlog if not handle._cancelled)

    def tasks_of(self, life: Life) -> list[asyncio.Task[Any]]:
        """The tasks of a life that still run, in a fixed order."""
        found = [task for task in asyncio.all_tasks(self) if self._life_of.get(task) is life]
        return sorted(found, key=_number)


def _new_task(loop: Any, work: Any, context: contextvars.Context | None = None) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, context=context)
    life = LIFE.get() if context is None else context.get(LIFE)
    if life is not None:
        loop._life_of[task] = life
    return task


def _number(task: asyncio.Task[Any]) -> tuple[int, str]:
    name = task.get_name()
    return (len(name), name)
