"""The tasks of a node: what is installed or named in its configuration, and the trainer child for them."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muster.errors import MusterError
from muster.node.api.snapshot import TaskView
from muster.node.config import NodeConfig
from muster.storage.store import Store

if TYPE_CHECKING:  # numpy comes with the first trainer
    from muster.node.trainer.adapter import StoreTrainer
    from muster.node.trainer.messages import TaskSource


class Catalogue:
    """Opens trainers; one that was opened to look at a task is handed on to the job that needs it next."""

    def __init__(
        self, config: NodeConfig, store: Store, scratch: Path, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        """`tell` gets a sentence when a trainer is held up."""
        self._config, self._store, self._scratch, self._tell = config, store, scratch, tell
        self._spare: tuple[str, StoreTrainer] | None = None
        self._views: dict[str, TaskView] = {}
        self._names: list[str] = []

    def names(self) -> list[str]:
        """Looked up once: it reads the metadata of every installed package."""
        if not self._names:
            points = importlib.metadata.entry_points(group="muster.tasks")
            self._names = sorted({*(p.name for p in points), *self._config.tasks})
        return self._names

    def has(self, name: str) -> bool:
        return name in self.names()

    def views(self) -> list[TaskView]:
        """What is known without starting anything."""
        return [self._views.get(n, TaskView(n, "", "", 0, 0)) for n in self.names()]

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
        if self._spare is not None:
            (spare_name, spare), self._spare = self._spare, None
            if spare_name == name:
                return spare
            await spare.close()
        if not self.has(name):
            known = ", ".join(self.names()) or "none"
            raise MusterError("unknown_task", f"there is no task {name!r} on this node: it has {known}")
        from muster.node.trainer.adapter import StoreTrainer

        trainer = await StoreTrainer.open(self._source(name), self._store, self._scratch, self._tell)
        facts = trainer.task
        self._views[name] = TaskView(
            name, facts.version, facts.fingerprint.hex(), facts.layout.parameters, facts.samples
        )
        return trainer

    async def keep(self, name: str, trainer: StoreTrainer) -> None:
        """Give back a trainer that somebody is about to need."""
        if self._spare is not None:
            await self._spare[1].close()
        self._spare = (name, trainer)

    async def close(self) -> None:
        if self._spare is not None:
            with contextlib.suppress(ChildProcessError):
                await self._spare[1].close()
            self._spare = None

    def _source(self, name: str) -> TaskSource:
        from muster.node.trainer.messages import TaskSource

        options: dict[str, Any] = dict(self._config.tasks.get(name, {}))
        reference = str(options.pop("file", name))
        limits = self._config.trainer
        return TaskSource(reference, options, limits.threads, limits.niceness, limits.slowdown)
