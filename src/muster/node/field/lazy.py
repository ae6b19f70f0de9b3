"""Opens the node's `Field` when it is first needed: numpy comes with it, and an idle daemon has none."""

from __future__ import annotations

import asyncio
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muster.node.api.field_view import FieldView
from muster.node.api.label_view import ToLabel
from muster.node.catalogue import Catalogue
from muster.node.config import NodeConfig
from muster.node.core import Core
from muster.serving.paths import served_tasks
from muster.serving.settings import ServeConfig

if TYPE_CHECKING:
    from muster.node.field.field import Field
    from muster.node.field.situation import Settings


class LazyField:
    """Holds the field once it is open."""

    def __init__(self, core: Core, catalogue: Catalogue, config: NodeConfig, scratch: Path) -> None:
        self._core, self._catalogue, self._config, self._scratch = core, catalogue, config, scratch
        self._opening = asyncio.Lock()
        self.opened: Field | None = None

    async def start(self) -> None:
        """Open it, if a model is in use here or a task is to be served."""
        if self._config.serve or served_tasks(self._config.home):
            await self.field()

    async def field(self) -> Field:
        """The node's field, opened if it is not."""
        async with self._opening:
            if self.opened is None:
                self.opened = await self._open()
            return self.opened

    def views(self) -> list[FieldView]:
        """Models in use, by the last looks; none while nothing is served here."""
        return [] if self.opened is None else self.opened.views()

    async def to_label(self, task: str, count: int) -> ToLabel:
        """Samples of this node that wait for labels. Raises MusterError."""
        config = self._config.serve.get(task, ServeConfig())
        found: ToLabel = await self._of_label("to_label", task, count, config)
        return found

    async def label(self, task: str, sample: int, label: int, held: bool | None) -> None:
        """Keep a label of this node's sample. Raises MusterError."""
        config = self._config.serve.get(task, ServeConfig())
        await self._of_label("give_label", task, sample, label, held, config)
        self._core.context.changes.notify()

    async def _of_label(self, what: str, *arguments: Any) -> Any:
        offload = self._core.context.offload
        module = await offload(import_module, "muster.node.field.by_hand.label")  # numpy comes with it
        return await offload(getattr(module, what), self._config.home, *arguments)

    async def _open(self) -> Field:
        for module in ("field", "children", "asking"):
            await self._core.context.offload(import_module, f"muster.node.field.{module}")
        from muster.node.field.asking import BudgetedAsker
        from muster.node.field.children import Children
        from muster.node.field.field import Field

        home = self._config.home
        shop = Children(self._core, self._catalogue, home, self._scratch)
        asker = BudgetedAsker(self._core, self._catalogue)
        field = Field(self._core, shop, asker, home, self._settings, time.time)
        field.start(self._config.serve)
        return field

    def _settings(self, task: str) -> Settings:
        from muster.node.field.situation import Settings

        given = self._config.serve.get(task, ServeConfig())
        return Settings(given.auto, given.gate, given.personal, given.settle_s)
