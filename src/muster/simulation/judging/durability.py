"""Notes, while the hour runs, which updates are acknowledged (durable on two nodes), and which stay on one
disk although they could be carried on."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from muster.history.counted import Key
from muster.history.graph import Graph
from muster.history.point import Point
from muster.protocol.ids import JobId, RecordId
from muster.protocol.parts import Payload
from muster.protocol.records import Commit, Merge
from muster.simulation.judging.adapting import ConcernWatch
from muster.simulation.judging.borders import StallWatch
from muster.simulation.judging.carrying import BEGUN_S, Chance, chances, good, meet
from muster.simulation.machine import Machine
from muster.simulation.world import World

CARRIED_S = 60.0  # patience, and time to pull a few kilobytes over a good link


class JobUpdate(NamedTuple):
    """One update of one job."""

    job: JobId
    key: Key


@dataclass
class DurabilityWatch:
    """Filled by looking at the disks now and then, and before each loss of one."""

    acknowledged: dict[JobUpdate, float] = field(default_factory=dict)  # since when durable on two nodes
    stranded: dict[JobUpdate, str] = field(default_factory=dict)  # and who could have carried it
    left: dict[JobUpdate, str] = field(default_factory=dict)  # and who could have fetched it
    stalls: StallWatch = field(default_factory=StallWatch)
    concerns: ConcernWatch = field(default_factory=ConcernWatch)
    tasks_max: int = 0
    skipped: int = 0  # losses that would have taken a last copy
    _pending: dict[JobUpdate, tuple[RecordId, Payload]] = field(default_factory=dict)
    _looked: int = 0
    _together: dict[JobUpdate, tuple[frozenset[str], float]] = field(
        default_factory=dict
    )  # with whom, since when
    _chances: dict[Chance, float] = field(default_factory=dict)  # since when

    def look(self, world: World) -> None:
        """Note which updates are durable on two nodes now."""
        for machine in world.machines.values():
            machine.look()
        archive = world.archive
        for record_id in islice(archive.updates, self._looked, None):
            key, update = archive.update(record_id)
            self._pending[JobUpdate(update.job, key)] = (record_id, update.payload)
        self._looked = len(archive.updates)
        disks = [m.disk for m in world.standing()]
        for work, (record_id, payload) in list(self._pending.items()):
            holders = 0
            for disk in disks:
                if disk.get(record_id) is not None and (payload.blob is None or disk.has_blob(payload.blob)):
                    holders += 1
            if holders >= 2:
                del self._pending[work]
                self.acknowledged[work] = world.now()
                self._together.pop(work, None)
            elif holders:
                self._lies(world, work, record_id)
            else:  # counted and forgotten, or lost: it will never be on two disks any more
                del self._pending[work]

    def look_at_carriers(self, world: World) -> None:
        """Note which updates a neighbour could have fetched for a while already."""
        now_s = world.now()
        self._chances = {chance: self._chances.get(chance, now_s) for chance in chances(world)}
        for chance, since_s in self._chances.items():
            if now_s - since_s >= BEGUN_S:
                carrier, holder = (world.by_node[n].spec.name for n in (chance.carrier, chance.holder))
                how = f"{carrier} met {holder}, which has it, for {BEGUN_S:.0f} s"
                self.left.setdefault(JobUpdate(chance.job, chance.key), how)

    def _lies(self, world: World, work: JobUpdate, record_id: RecordId) -> None:
        """Note an update on one disk whose author has long been in contact with nodes that know of it."""
        company = _company(world, work, record_id)
        since = self._together.get(work)
        if company is None:
            self._together.pop(work, None)
        elif since is None or since[0] != company:
            self._together[work] = (company, world.now())
        elif world.now() - since[1] >= CARRIED_S:
            self.stranded.setdefault(work, f"with {', '.join(sorted(company))} for {CARRIED_S:.0f} s")

    def may_lose(self, world: World, victim: Machine) -> bool:
        """Whether every acknowledged update survives the loss of the victim's disk."""
        self.look(world)
        others = [m for m in world.standing() if m is not victim]
        return bool(world.jobs) and all(self._safe(world, asked.id, others) for asked in world.jobs)

    def _safe(self, world: World, job: JobId, others: list[Machine]) -> bool:
        safe: set[Key] = set()
        for machine in others:
            for stored in machine.disk.select("update", job):
                if stored.id not in world.archive.records:
                    continue  # that cannot be, and nobody takes it (specs.Poison)
                key, update = world.archive.update(stored.id)
                if has(machine, update.payload):
                    safe.add(key)
        graph = whole_graph(world, job)
        counted = [point.counted for point in graph.points.values() if any(holds(m, point) for m in others)]
        if not counted or not any(m.disk.get(job) for m in others):
            return False  # the job itself is on one disk only
        mine = [work.key for work in self.acknowledged if work.job == job]
        return all(key in safe or any(key in c for c in counted) for key in mine)


def _company(world: World, work: JobUpdate, record_id: RecordId) -> frozenset[str] | None:
    """The nodes that an update's author is connected with, if all is well among them and another one that
    takes part knows of the update: then it must not stay where it is.  None while nobody can do better."""
    author = world.by_node.get(work.key.node)
    if author is None or _still(author) or not _open(author, work) or _coordinates(author, work.job):
        return None  # (a coordinator's own update lies there until it commits it)
    found, front = {author.node: author}, [author]
    while front:
        machine = front.pop()
        for node in world.network.neighbours_of(machine.node):
            if node in found or not meet(world, machine.node, node):
                continue
            if not good(world, machine.node, node):
                return None
            found[node] = world.by_node[node]
            front.append(found[node])
    if any(m.disk.is_full or m.revoked or _listens(m, work.job) for m in found.values()):
        return None  # (one that is revoked, and nobody here knows it: it may be the one that coordinates)
    others = [
        m
        for m in found.values()
        if m is not author and m.willing and not _still(m) and m.disk.get(record_id) is not None
    ]
    if not any(_open(m, work) for m in others):
        return None
    return frozenset(m.spec.name for m in found.values())


def _still(machine: Machine) -> bool:
    """Whether a process is suspended."""
    return machine.life is not None and machine.life.paused


def _coordinates(machine: Machine, job: JobId) -> bool:
    runner = machine.runner(job)
    return runner is not None and runner.acting


def _listens(machine: Machine, job: JobId) -> bool:
    """Whether a restarted node is heard of, but does not coordinate before it has listened for a patience."""
    runner = machine.runner(job)
    if runner is None or machine.lives == 1:
        return False
    return runner.context.now() - runner.since_s < runner.view.job.patience_s


def _open(machine: Machine, work: JobUpdate) -> bool:
    """Whether, as a node sees it, the job goes on and the update is not counted yet."""
    if machine.node == work.key.node and machine.disk.incarnation != work.key.incarnation:
        return False  # that disk is lost
    runner = machine.runner(work.job)
    head = runner.head() if runner is not None else None
    if runner is None or head is None:
        return False
    return runner.finished() is None and work.key not in head.counted


def has(machine: Machine, payload: Payload) -> bool:
    return payload.inline is not None or (payload.blob is not None and machine.disk.has_blob(payload.blob))


def holds(machine: Machine, point: Point) -> bool:
    """Record and parameters of a commit; of a merge, what it was computed to."""
    if machine.disk.get(point.id) is None:
        return False
    if isinstance(point.record, Commit):
        return machine.disk.has_blob(point.record.params)
    blob = machine.disk.state("merged/" + point.id.hex())
    return blob is not None and machine.disk.has_blob(blob)


def whole_graph(world: World, job: JobId) -> Graph:
    """Every commit and merge of a job that anybody ever wrote."""
    graph = Graph()
    for record_id, (author, record) in world.archive.records.items():
        if isinstance(record, Commit | Merge) and record.job == job:
            graph.add(record_id, author, record)
    return graph
