"""Tells the ledger what is wrong with a commit by the history of its job, where that is in memory."""

from __future__ import annotations

from collections.abc import Mapping

from muster.job.runner import JobRunner
from muster.protocol.ids import JobId, NodeId
from muster.protocol.records import Commit


def history_fault(runners: Mapping[JobId, JobRunner], commit: Commit, author: NodeId) -> str | None:
    """One sentence, or None: also where the job or the parent is not known yet, or is in the store only."""
    runner = runners.get(commit.job)
    return runner.view.graph.fault(commit, author) if runner is not None else None
