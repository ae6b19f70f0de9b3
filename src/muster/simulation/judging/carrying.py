"""Store, carry, forward: does a node that meets others in turn take along what they have?

While the coordinator is heard of, it fetches updates itself.  A node that does not hear of it may be the only
path there: it takes the updates of its neighbours, whoever made them and whoever coordinates meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from muster.history.counted import Key
from muster.protocol.ids import JobId, NodeId
from muster.simulation.machine import Machine
from muster.simulation.world import World

UNHEARD_S = 20.0  # of the first in rank; from 15 s on a node carries
BEGUN_S = 20.0  # within which it begins; how long it takes is a matter of the link and of lost questions
GOOD_BYTES_S, GOOD_LOSS = 100_000.0, 0.02


class Chance(NamedTuple):
    """`carrier` could take an update along that lies with `holder`."""

    carrier: NodeId
    holder: NodeId
    job: JobId
    key: Key


def good(world: World, a: NodeId, b: NodeId) -> bool:
    """Whether two nodes are in contact over a link that is neither narrow nor lossy."""
    if not meet(world, a, b):
        return False
    if _distrusts(world, a, b) or _distrusts(world, b, a):
        return False
    there, back = world.network.params(a, b), world.network.params(b, a)
    rate_bytes_s, loss = min(there.rate_bytes_s, back.rate_bytes_s), max(there.ask_loss, back.ask_loss)
    return rate_bytes_s >= GOOD_BYTES_S and loss <= GOOD_LOSS


def meet(world: World, a: NodeId, b: NodeId) -> bool:
    """Whether two nodes are in contact, and neither knows that the other one was revoked."""
    return world.network.contact(a, b) and not (_bars(world, a, b) or _bars(world, b, a))


def _bars(world: World, a: NodeId, b: NodeId) -> bool:
    core = world.by_node[a].core
    return core is not None and core.ledger.trust.revoked(b)


def _distrusts(world: World, a: NodeId, b: NodeId) -> bool:
    """Whether a node hears another one later, or not at all, as that one sent what nobody can use."""
    core = world.by_node[a].core
    if core is None:
        return False
    return core.offences.pause_s(b) > 0.0 or core.exchange.shared.authors.cut(b)


def chances(world: World) -> Iterator[Chance]:
    """Updates beside a node that does not hear the coordinator and neither holds nor fetches them."""
    for machine in world.standing():
        if machine.core is None or not machine.willing or not _able(machine):
            continue
        near = [world.by_node[n] for n in world.network.neighbours_of(machine.node)]
        near = [m for m in near if _able(m) and good(world, machine.node, m.node)]
        for job in machine.core.jobs.runners:
            yield from _left(machine, near, job)


def _able(machine: Machine) -> bool:
    up = machine.core is not None and machine.life is not None and not machine.life.paused
    return up and not machine.disk.is_full


def _left(machine: Machine, near: list[Machine], job: JobId) -> Iterator[Chance]:
    assert machine.core is not None
    runner = machine.core.jobs.runners[job]
    head = runner.head()
    if head is None or runner.finished() is not None:
        return
    revoked = machine.core.ledger.trust.revoked  # by what this node has heard
    first = next((n for n in head.roster if n not in runner.view.refusals and not revoked(n)), None)
    if first is None or first == machine.node:
        return
    age_s = machine.core.presence.age_s(first)
    if age_s is not None and age_s <= UNHEARD_S:
        return
    heads = runner.models.known_heads()
    for update in runner.view.uncounted(head.counted):
        blob = update.record.payload.blob
        if blob is None or machine.disk.has_blob(blob) or any(update.key in h.counted for h in heads):
            continue
        if machine.core.transfers.status(blob) is not None:  # being fetched
            continue
        for other in near:
            if other.disk.has_blob(blob):
                yield Chance(machine.node, other.node, job, update.key)
