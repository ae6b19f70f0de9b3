"""Does a node give others no more than its owner lets it, and is it asked again on the next day?"""

from __future__ import annotations

from collections.abc import Iterator

from muster.protocol.records import Commit, Offer, Refusal, Update
from muster.simulation.machine import Machine
from muster.simulation.world import World

TODAY = "of today"  # in the reason of a refusal for want of bytes
AGAIN_S = 30.0  # after midnight, in which a node that is up offers again


def given(world: World) -> Iterator[str]:
    """Of nodes whose owners have set a limit."""
    for machine in world.machines.values():
        if machine.spec.bytes_per_day is not None:
            yield from _given(world, machine, machine.spec.bytes_per_day)


def _given(world: World, machine: Machine, limit_bytes: int) -> Iterator[str]:
    archive, midnight_s, name = world.archive, world.spec.midnight_s, machine.spec.name
    own = {asked.id for asked in world.jobs if asked.spec.asker == name}
    theirs = [
        (archive.when[record_id], record)
        for record_id, (author, record) in archive.records.items()
        if author == machine.node and isinstance(record, Offer | Refusal | Update) and record.job not in own
    ]
    days: dict[bool, int] = {}  # before midnight, after it: bytes that updates take at the very least
    refused_s: float | None = None
    for at_s, record in sorted(theirs, key=lambda item: item[0]):
        if isinstance(record, Update):
            if refused_s is not None:
                yield f"given: {name} trains at {at_s:.0f} s, which it refused at {refused_s:.0f} s"
            after = midnight_s is not None and at_s >= midnight_s
            days[after] = days.get(after, 0) + record.payload.size_bytes + _came(world, machine, record)
        else:
            refused_s = at_s if isinstance(record, Refusal) and TODAY in record.reason else None
    for count in days.values():
        if count > limit_bytes:
            yield f"given: updates of {name} take {count} bytes in a day, and {limit_bytes} is its limit"
    if refused_s is not None and midnight_s is not None and refused_s < midnight_s < _over_s(world) - AGAIN_S:
        yield f"given: {name} refused at {refused_s:.0f} s, and did not offer again after midnight"


def _came(world: World, machine: Machine, update: Update) -> int:
    """Bytes of the change that an update was made on top of, if they had to come."""
    author, base = world.archive.records.get(update.base, (machine.node, None))
    if author == machine.node or not isinstance(base, Commit) or base.delta is None:
        return 0
    return base.delta.size_bytes


def _over_s(world: World) -> float:
    """When the last record of a job was written."""
    return max(world.archive.when.values(), default=0.0)
