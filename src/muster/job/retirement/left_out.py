"""Names commits that are left out of a job's history, once each."""

from __future__ import annotations

from muster.job.context import Context
from muster.job.view import JobView
from muster.protocol.ids import JobId, short

NAMED_MAX = 16  # of a job


class LeftOut:
    """Knows how many were named of each job in memory."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._named: dict[JobId, int] = {}

    def name(self, view: JobView) -> None:
        """Say which commits of a job are left out and why, as far as that is new."""
        refused, named = view.graph.refused, self._named.get(view.id, 0)
        if len(refused) == named:  # as at nearly every record
            return
        for commit in list(refused)[named:NAMED_MAX]:
            text = f"the commit {short(commit)} is left out: {refused[commit]}"
            self._context.event("error", text, job=view.id)
        self._named[view.id] = len(refused)

    def forget(self, job: JobId) -> None:
        """A job leaves memory."""
        self._named.pop(job, None)
