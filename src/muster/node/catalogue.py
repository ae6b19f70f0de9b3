"""Knows the tasks of a node, installed or named in its configuration, and opens trainers for them."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import AsyncIterator, Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from muster.errors import MusterError
from muster.node.api.snapshot import TaskView
from muster.node.config import NodeConfig
from muster.storage.offload import Offload
from muster.storage.store import Store

if TYPE_CHECKING:  # numpy comes with the first trainer
    from muster.node.trainer.adapter import StoreTrainer
    from muster.node.trainer.messages import TaskSource


def task_views(configured: Mapping[str, Mapping[str, Any]]) -> list[TaskView]:
    """The tasks that are installed here or in a node's configuration, sorted by name, and where each comes
    from. None is imported."""
    where = {point.name: point.value for point in importlib.metadata.entry_points(group="muster.tasks")}
    for name, settings in configured.items():
        if place := settings.get("file") or settings.get("flower"):
            where[name] = str(place)
        elif name not in where:
            where[name] = "not installed"
    return [TaskView(name, "", "", 0, 0, where=where[name]) for name in sorted(where)]


def task_source(config: NodeConfig, name: str) -> TaskSource:
    """What to open for the name of a task."""
    from muster.learning.task import is_flower
    from muster.node.trainer.messages import TaskSource

    options: dict[str, Any] = dict(config.tasks.get(name, {}))
    reference = str(options.pop("file", name))
    if is_flower(reference, options):  # such an app does not know what it is called here
        options["name"] = name
    limits = config.trainer
    return TaskSource(reference, options, limits.threads, limits.niceness, limits.slowdown)


class Catalogue:
    """Opens trainers; one that was opened to look at a task is handed on to the job that needs it next."""

    def __init__(
        self,
        config: NodeConfig,
        store: Store,
        scratch: Path,
        offload: Offload,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`report` gets a sentence when a trainer is delayed."""
        self._config, self._store, self._scratch, self._report = config, store, scratch, report
        self._offload = offload
        self._waiting: tuple[str, StoreTrainer] | None = None  # opened, for the next job with this task
        self._views: dict[str, TaskView] = {}
        self._unopened: list[TaskView] = []

    def names(self) -> list[str]:
        """Tasks that this node has; looked up once, as it reads the metadata of every installed package."""
        if not self._unopened:
            self._unopened = task_views(self._config.tasks)
        return [view.name for view in self._unopened]

    def has(self, name: str) -> bool:
        return name in self.names()

    def views(self) -> list[TaskView]:
        """The tasks as far as they are known without starting a trainer."""
        self.names()
        opened = {
            name: msgspec.structs.replace(v, where=self._where(name)) for name, v in self._views.items()
        }
        return [opened.get(view.name, view) for view in self._unopened]

    def _where(self, name: str) -> str:
        return next((view.where for view in self._unopened if view.name == name), "")

    async def examine(self) -> list[TaskView]:
        """Open every task in turn and say what it is, or why it cannot be trained here."""
        for name in self.names():
            try:
                trainer = await self.open(name)
            except (MusterError, ChildProcessError) as error:
                self._views[name] = TaskView(name, "", "", 0, 0, str(error))
            else:
                await trainer.close()
        return self.views()

    async def open(self, name: str) -> StoreTrainer:
        """A trainer with the task loaded. Raises MusterError, ChildProcessError."""
        if self._waiting is not None:
            (task, waiting), self._waiting = self._waiting, None
            if task == name:
                return waiting
            await waiting.close()
        await self._offload(import_module, "muster.node.trainer.adapter")
        source = self.source(name)
        from muster.node.trainer.adapter import StoreTrainer

        trainer = await StoreTrainer.open(source, self._store, self._scratch, self._offload, self._report)
        facts = trainer.task
        self._views[name] = TaskView(
            name, facts.version, facts.fingerprint.hex(), facts.layout.parameters, facts.samples
        )
        return trainer

    @contextlib.asynccontextmanager
    async def borrowed(self, name: str) -> AsyncIterator[StoreTrainer]:
        """A trainer with the task loaded, for a job that is about to be asked for: kept for it afterwards,
        and closed if the block fails. Raises MusterError."""
        try:
            trainer = await self.open(name)
            try:
                yield trainer
            except BaseException:
                await trainer.close()
                raise
        except ChildProcessError as error:
            raise MusterError("task_fault", f"the task {name!r} cannot be trained here: {error}") from error
        await self.keep(name, trainer)

    async def keep(self, name: str, trainer: StoreTrainer) -> None:
        """Give back a trainer that somebody is about to need."""
        if self._waiting is not None:
            await self._waiting[1].close()
        self._waiting = (name, trainer)

    async def close(self) -> None:
        if self._waiting is not None:
            with contextlib.suppress(ChildProcessError):
                await self._waiting[1].close()
            self._waiting = None

    def source(self, name: str) -> TaskSource:
        """What to open for a name. Raises MusterError("unknown_task")."""
        if not self.has(name):
            known = ", ".join(self.names()) or "none"
            raise MusterError("unknown_task", f"there is no task {name!r} on this node: it has {known}")
        return task_source(self._config, name)
