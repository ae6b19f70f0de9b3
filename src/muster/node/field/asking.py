"""Implements `Asker`: jobs for nodes that are alike, from the model in use, within the budget of the day."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from muster.node.catalogue import Catalogue
from muster.node.core import Core
from muster.node.field.looking import Found
from muster.node.field.task_field import TaskField
from muster.protocol.ids import JobId
from muster.serving.paths import folder_of, parameters_of


class BudgetedAsker:
    """See the module."""

    def __init__(self, core: Core, catalogue: Catalogue) -> None:
        self._core, self._catalogue = core, catalogue

    def no_ask(self) -> str:
        return self._core.ask_budget.why_not() or ""

    async def ask(self, field: TaskField, found: Found, *, by_hand: bool, unless: Callable[[], str]) -> JobId:
        await self._core.context.offload(import_module, "muster.node.api.adapting")  # numpy comes with it
        from muster.node.api.adapting import ask_adapt

        return await ask_adapt(
            self._core, self._catalogue, field.task, self._start(field, found), by_hand=by_hand, unless=unless
        )

    def _start(self, field: TaskField, found: Found) -> str:
        """The commit in use, if it is held here: its job says how it was trained; else the file."""
        assert found.served is not None
        made = found.made
        runner = self._core.jobs.runners.get(made.job) if made is not None else None
        if made is not None and made.commit and runner is not None and runner.models.held(made.commit):
            return made.commit.hex()
        return str(parameters_of(folder_of(field.home, field.task), found.served.sha256))
