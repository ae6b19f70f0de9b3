"""For whom a job adapts a model in use."""

from __future__ import annotations

from muster.job.view import JobView
from muster.node.core import Core

NODES_MAX = 64


def adapts_for(core: Core, view: JobView) -> list[str] | None:
    """Names of the nodes with a like need that take part, in their order; None: the job is for all."""
    if not view.job.like:
        return None
    return [core.trust.name(node) for node in view.offers if node not in view.refusals][:NODES_MAX]
