"""What may be lost with a member that is revoked: its own updates, and those that only its commits count."""

from __future__ import annotations

from muster.history.counted import Key
from muster.protocol.ids import JobId
from muster.protocol.records import Commit
from muster.simulation.world import World


def expelled(world: World, job: JobId) -> set[Key]:
    """Keys of updates that nobody needs to count any more.

    An honest node's update that a revoked one counted is no longer kept by its author; if nobody built on
    that commit before the revocation, it went with it.
    """
    revoked = {m.node for m in world.machines.values() if m.revoked}
    if not revoked:
        return set()
    keys = {key for key, _ in map(world.archive.update, world.archive.updates) if key.node in revoked}
    for author, record in world.archive.records.values():
        if isinstance(record, Commit) and record.job == job and author in revoked:
            keys |= {Key(x.node, x.incarnation, x.sequence) for x in record.folded}
    return keys
