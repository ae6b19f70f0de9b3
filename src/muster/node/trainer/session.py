"""Opens a task and hands requests to the session that fits it; torch comes only with a task that needs it."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from muster.errors import MusterError
from muster.learning.arrays import array_task
from muster.learning.loading import load

if TYPE_CHECKING:
    from muster.node.trainer.array_session import ArraySession
    from muster.node.trainer.task_session import TaskSession

OnStep = Callable[[dict[str, Any]], None]


class Session:
    """Holds the open task and the throttle between requests."""

    def __init__(self) -> None:
        self._session: TaskSession | ArraySession | None = None
        self.throttle = 1.0

    def do(self, request: dict[str, Any], on_step: OnStep) -> dict[str, Any]:
        """The result of a request. `on_step(progress)` is called after each piece of work and may raise."""
        arguments = {k: v for k, v in request.items() if k not in ("id", "do", "share")}
        if request["do"] == "open":
            return self._open(**arguments)
        if self._session is None:
            raise MusterError("internal", "the trainer was asked to work before a task was opened")
        result = self._session.do(request["do"], arguments, on_step)
        if request["do"] == "inspect":
            result["memory_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if "step_s" in result:  # measured without the rests between steps
            result["step_s"] *= self.factor(request)
        return result

    def factor(self, request: dict[str, Any]) -> float:
        """How many times as long as it needs a request's work takes."""
        return self.throttle / float(request.get("share", 1.0))

    def _open(
        self, reference: str, options: dict[str, Any], threads: int, niceness: int, throttle: float
    ) -> dict[str, Any]:
        os.nice(max(0, niceness - os.nice(0)))
        self.throttle = max(1.0, throttle)
        self._session = None  # should this fail, the former task must not answer in its place
        task = load(reference, options)
        session: TaskSession | ArraySession
        if array_task.is_array_task(task):
            from muster.node.trainer.array_session import ArraySession

            _limit_threads(max(1, threads))
            session = ArraySession(task)
        else:
            import torch

            from muster.node.trainer.task_session import TaskSession

            torch.set_num_threads(max(1, threads))
            session = TaskSession(task)
        self._session = session
        return session.facts()


def _limit_threads(threads: int) -> None:
    """Of the libraries that numpy and scikit-learn compute with, and of torch where the task imports it."""
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
