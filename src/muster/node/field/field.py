"""The models in use on this node: a loop for each served task, and what people ask of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from muster.errors import MusterError
from muster.node.api.field_view import AskedView, FieldView, MovedView
from muster.node.core import Core
from muster.node.field import memory, views
from muster.node.field.by_hand import adapt, use
from muster.node.field.situation import Settings
from muster.node.field.task_field import TaskField
from muster.node.field.task_loop import Asker, TaskLoop
from muster.node.field.workshop import Workshop
from muster.serving.paths import served_tasks

TASKS_MAX = 64


class Field:
    """All served tasks of a node."""

    def __init__(
        self,
        core: Core,
        workshop: Workshop,
        asker: Asker,
        home: Path,
        settings: Callable[[str], Settings],
        clock: Callable[[], float],
    ) -> None:
        """`settings(task)`: what the owner said of it. `clock()`: unix seconds, as the pointer has them."""
        self._core, self._workshop, self._asker, self._home = core, workshop, asker, home
        self._settings, self._clock = settings, clock
        self._heard = views.Heard(core, clock)
        self.loops: dict[str, TaskLoop] = {}

    def start(self, configured: Iterable[str]) -> None:
        """Begin the loops of the tasks that are served here, or were."""
        for task in [*configured, *served_tasks(self._home)][:TASKS_MAX]:
            self.loop(task)

    def loop(self, task: str) -> TaskLoop:
        """The loop of a task, which begins if it has not."""
        if task not in self.loops:
            kept = memory.load(self._core.store, task)
            field = TaskField(
                task, self._home, self._core, self._workshop, self._settings(task), self._clock, kept
            )
            self.loops[task] = loop = TaskLoop(field, self._asker)
            self._core.supervisor.keep(f"looking after the model of {task}", loop.run)
        return self.loops[task]

    async def use(self, model: str, task: str, *, force: bool) -> MovedView:
        """Put a commit's model, or a file's, into use. Raises MusterError."""
        known = await use.named(self._core, model, task)
        loop = self.loop(known.task)
        moved = await use.use(loop.field, known, force=force)
        await loop.look()
        return moved

    async def rollback(self, task: str) -> MovedView:
        """Have the former model in use again. Raises MusterError."""
        loop = self._known(task)
        served = await loop.field.go_back("rolled back", "a person said so")
        await loop.look()
        former = served.former.version if served.former is not None else None
        return MovedView(task, served.version, former, "the model before it is in use again")

    async def adapt(self, task: str) -> AskedView:
        """Ask for an adapt job at once. Raises MusterError."""
        return await adapt.adapt(self._known(task))

    async def looked_at(self) -> list[FieldView]:
        """`views` as files are now."""
        for loop in self.loops.values():
            await loop.look()
        return self.views()

    def views(self) -> list[FieldView]:
        """Of all nodes, this one first, by the last look."""
        return views.views(self._core, self.loops, self._heard)

    def _known(self, task: str) -> TaskLoop:
        if task not in self.loops:
            known = ", ".join(sorted(self.loops)) or "none"
            raise MusterError("unknown_task", f"no model of {task!r} is in use on this node: it has {known}")
        return self.loops[task]
