"""Loads what jobs need beside the event loop: numpy comes with it, which an idle daemon does without."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from muster.job.context import Context
from muster.protocol.ids import JobId

NEEDED = "muster.job.runner"


class Loader:
    """Knows the jobs that begin as soon as what they need is loaded: the first of an idle daemon."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: set[JobId] = set()

    def __contains__(self, job: object) -> bool:
        return job in self._waiting

    def when_loaded(self, job: JobId, begin: Callable[[], None]) -> None:
        """Call `begin`, at once if everything is loaded."""
        if not self._waiting and hasattr(sys.modules.get(NEEDED), "JobRunner"):
            begin()
        else:
            self._waiting.add(job)
            self._context.supervisor.once("loading what a job needs", self._load(job, begin))

    async def _load(self, job: JobId, begin: Callable[[], None]) -> None:
        try:
            await self._context.offload(import_module, NEEDED)
        finally:
            self._waiting.discard(job)
        begin()
