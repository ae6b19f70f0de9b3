"""What faults inside a node do to a machine (`inner_faults.py` draws them). Each says if it did anything."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Iterable

from muster.network.sync.heartbeat import Heartbeat
from muster.network.sync.messages import Announce, pack_announce
from muster.network.trust.signing import seal
from muster.protocol.ids import BlobId, JobId, NodeId
from muster.protocol.records import Commit, Refusal, Shared
from muster.simulation.archive import Archive
from muster.simulation.machine import Machine
from muster.simulation.malformed import malformed
from muster.simulation.specs import Flood
from muster.simulation.virtual.lives import LivesLoop
from muster.storage.memory import MemoryStore

FLOOD_EVERY_S = 0.1
JUNK_BYTES = 300
READ_S = 0.1  # after a stall: timers are due at once, what came waits for the engine's threads
NO_JOB = bytes(32)
CLONE_SAYS, CLONE_EVERY_S = 5, 3.0  # heartbeats of a process with another's key, as `node.twins` sends them
AGAIN_S = 1.0  # until a poisoned node starts again


def stall(machine: Machine, stall_s: float) -> bool:
    loop, life = asyncio.get_running_loop(), machine.life
    assert isinstance(loop, LivesLoop)
    if life is None or life.paused:
        return False
    loop.pause(life)
    loop.call_later(stall_s, loop.resume, life, READ_S)
    return True


def rot(machine: Machine, others: Iterable[Machine], archive: Archive, after_s: float) -> bool:
    """Of the models that are held elsewhere, too, the one that came last is damaged; so are samples."""
    disks = [m.disk for m in others if m is not machine]
    models = [r.params for _, r in archive.records.values() if isinstance(r, Commit)]
    samples = [r.payload.blob or b"" for _, r in archive.records.values() if isinstance(r, Shared)]
    elsewhere = [
        [blob for blob in blobs if machine.disk.has_blob(blob) and any(_sound(disk, blob) for disk in disks)]
        for blobs in (models, samples)
    ]
    if not elsewhere[0]:
        return False
    machine.kill()
    for blobs in elsewhere:
        for blob in blobs[-1:]:
            machine.disk.rot(blob)
    machine.start_later(after_s)
    return True


def _sound(disk: MemoryStore, blob: BlobId) -> bool:
    return disk.has_blob(blob) and disk.sound(blob)


def poison(machine: Machine, neighbours: Iterable[NodeId], archive: Archive, number: int) -> bool:
    """An even number: the record is on the node's disk when it starts again; an odd one: it is announced."""
    record = malformed(random.Random(number), [r for _, r in archive.records.values()])
    if record is None or machine.disk.is_full:
        return False
    record_id, wire = seal(machine.identity, record)
    if number % 2:
        return _announce(machine, neighbours, wire)
    machine.kill()
    job: JobId = record.job  # type: ignore[union-attr]
    machine.disk.add(record_id, record.KIND, job, wire, b"")
    machine.start_later(AGAIN_S)
    return True


def flood(machine: Machine, neighbours: Iterable[NodeId], archive: Archive, fault: Flood) -> bool:
    """Announcements of junk, or of records that cannot be, ten a second, as long as this process lives."""
    core, rng, around = machine.core, random.Random(f"flood/{machine.spec.name}"), list(neighbours)

    def send(left: int) -> None:
        if left > 0 and machine.core is core:
            impossible = Refusal(NO_JOB, -1 - rng.getrandbits(60), 1, "")
            data = seal(machine.identity, impossible)[1] if fault.records else rng.randbytes(JUNK_BYTES)
            _announce(machine, around, data)
            asyncio.get_running_loop().call_later(FLOOD_EVERY_S, send, left - 1)

    if core is not None:
        archive.floods[machine.node] += 1
        send(fault.messages)
    return core is not None


def clone(machine: Machine, at: Machine, archive: Archive) -> bool:
    core, other = machine.core, at.core
    if core is None or other is None or core is other or core.presence.cloned:
        return False
    loop, start = asyncio.get_running_loop(), core.presence.incarnation.start

    def end() -> None:
        if machine.core is core and core.presence.cloned:
            archive.tell(loop.time(), machine.spec.name, "acts no more, as another process has its key")
            machine.kill()

    def say(number: int) -> None:
        if number <= CLONE_SAYS and at.core is other:
            other.presence.merge([Heartbeat(machine.node[:8], start + number, 1, 0, 0, 255, bytes(4), 0)])
            loop.call_later(CLONE_EVERY_S, say, number + 1)

    def look() -> None:
        loop.call_soon(end, context=contextvars.Context())  # in nobody's process: that one ends

    core.presence.change_listeners.append(look)
    say(1)
    return True


def _announce(machine: Machine, neighbours: Iterable[NodeId], data: bytes) -> bool:
    if machine.core is None:
        return False
    packed = pack_announce(Announce(1, 0, [], [data], b""), machine.disk.incarnation)
    for node in neighbours:
        machine.core.link.nudge(node, "n", packed)
    return True
