"""Do nodes of two versions pass on what only one of them knows, and does the other say that it cannot?"""

from __future__ import annotations

from collections.abc import Iterator

from muster.protocol.ids import NodeId
from muster.protocol.versions import Unknown
from muster.simulation.machine import Machine
from muster.simulation.world import World


def grown(world: World) -> Iterator[str]:
    """Every record of the next version that a node has is on all, byte for byte; older ones say that they do
    not act on it, and newer ones know what it is."""
    archive, standing = world.archive, world.standing()
    held = {i for i in archive.later for m in standing if m.disk.get(i) is not None}
    for record_id in sorted(held):
        author, kind, wire = archive.later[record_id]
        if world.by_node[author].revoked:
            continue
        for machine in standing:
            stored = machine.disk.get(record_id)
            whose = f"a {kind} of {world.by_node[author].spec.name}"
            if stored is None:
                yield f"grown: {machine.spec.name} lacks {whose}"
            elif stored.wire != wire:
                yield f"grown: {machine.spec.name} has {whose} in other bytes"
            elif stored.kind != (kind if machine.later else Unknown.KIND):
                yield f"grown: {machine.spec.name} keeps {whose} as {stored.kind}"
            elif not machine.later and not _named(machine, author):
                yield f"grown: {machine.spec.name} does not say that it cannot act on {whose}"


def _named(machine: Machine, author: NodeId) -> bool:
    """Whether a node says of another one that it is of a later version: to whoever asks, and in its log."""
    if machine.core is None:
        return True
    sentence = machine.core.ledger.later.sentence(author)
    begin = sentence.split(" (")[0]
    return bool(sentence) and any(event.text.startswith(begin) for event in machine.core.log.since(0))
