"""What a node holds of a member that its fleet's owner is about to revoke."""

from __future__ import annotations

from muster.job.models.retention import origins
from muster.job.runner import JobRunner
from muster.node.core import Core
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.validation.limits import STANDS_MAX


def to_stand(core: Core, node: NodeId) -> list[RecordId]:
    """The member's records that are to count all the same: of each job in memory the heads that it made or
    that merge those, its updates that no head counts, and what it said about the job as its asker."""
    found: dict[RecordId, None] = {}
    for runner in core.jobs.runners.values():
        found |= dict.fromkeys(_heads(runner, node))
        if runner.view.asker == node:
            found[runner.view.id] = None
            if runner.view.stop:
                found[runner.view.stop] = None
    for runner in core.jobs.runners.values():
        for head in runner.models.known_heads():
            waiting = runner.view.uncounted(head.counted)
            found |= {update.id: None for update in waiting if update.key.node == node}
    return list(found)[:STANDS_MAX]


def _heads(runner: JobRunner, node: NodeId) -> list[RecordId]:
    graph = runner.view.graph
    found = {c for head in runner.models.known_heads() for c in (head.id, *origins(graph, head))}
    return sorted(c for c in found if graph.points[c].author == node)
