"""What must hold, whatever happened: judged from the disks and from the archive of all that was written.

Each rule is a function that returns sentences about what is broken; nothing here is used by the product.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.compression.model import add, decode_update
from muster.compression.tensors import pack, unpack
from muster.history.counted import Key
from muster.history.graph import Graph, Point
from muster.job import residuals
from muster.job.runner import JobRunner
from muster.records import BlobId, Commit, CommitId, Merge, NodeId, Payload, RecordId, Update, short
from muster.simulation.world import Machine, World

ALONE_PATIENCES = 10  # design 5.8; written here again on purpose

# What a node may hold at the end of an hour, whatever happened (numbers from runs, with room to spare).
OUTBOX_MAX = 1000
RECORDS_MAX = 300  # and for each commit:
RECORDS_A_COMMIT_MAX = 3  # a node, and
RECORDS_A_COMMIT_MORE = 6
PLANS_PER_COMMIT_MAX = 9
MERGES_MAX = 60
TASKS_MAX = 400


@dataclass
class Watch:
    """What is noted while the hour runs."""

    acknowledged: dict[Key, float] = field(default_factory=dict)  # key -> since when durable on two nodes
    heads_max: int = 0
    tasks_max: int = 0
    records_max: int = 0
    skipped: int = 0  # losses that would have taken a last copy
    _pending: dict[Key, tuple[RecordId, Payload]] = field(default_factory=dict)
    _looked: int = 0

    def look(self, world: World) -> None:
        """Which updates are durable on two nodes now."""
        archive = world.archive
        for record_id in islice(archive.updates, self._looked, None):
            key, update = _update_of(world, record_id)
            if update.job == world.job:
                self._pending[key] = (record_id, update.payload)
        self._looked = len(archive.updates)
        standing = world.standing()
        for key, (record_id, payload) in list(self._pending.items()):
            holders = 0
            for machine in standing:
                if machine.disk.get(record_id) is not None and _has(machine, payload):
                    holders += 1
            if holders >= 2:
                del self._pending[key]
                self.acknowledged[key] = world.now()

    def may_lose(self, world: World, victim: Machine) -> bool:
        """Whether every acknowledged update lives on without the victim's disk: no second disk is lost
        before copies are restored."""
        self.look(world)
        others = [m for m in world.standing() if m is not victim]
        if not world.job:
            return False
        graph = whole_graph(world)
        safe: set[Key] = set()
        for machine in others:
            for stored in machine.disk.select("update", world.job):
                key, update = _update_of(world, stored.id)
                if _has(machine, update.payload):
                    safe.add(key)
        counted = [point.counted for point in graph.points.values() if any(_holds(m, point) for m in others)]
        if not counted or not any(m.disk.get(world.job) for m in others):
            return False  # the job itself is on one disk only
        return all(key in safe or any(key in c for c in counted) for key in self.acknowledged)


def _update_of(world: World, record_id: RecordId) -> tuple[Key, Update]:
    author, record = world.archive.records[record_id]
    assert isinstance(record, Update)
    return Key(author, record.incarnation, record.sequence), record


def _has(machine: Machine, payload: Payload) -> bool:
    return payload.inline is not None or (payload.blob is not None and machine.disk.has_blob(payload.blob))


def _holds(machine: Machine, point: Point) -> bool:
    """Record and parameters of a commit; of a merge, what it was computed to or what it is computed from."""
    if machine.disk.get(point.id) is None:
        return False
    if isinstance(point.record, Commit):
        return machine.disk.has_blob(point.record.params)
    blob = machine.disk.state("merged/" + point.id.hex())
    return blob is not None and machine.disk.has_blob(blob)


def whole_graph(world: World) -> Graph:
    """Every commit and merge of the job that anybody ever wrote."""
    graph = Graph()
    for record_id, (author, record) in world.archive.records.items():
        if isinstance(record, Commit | Merge) and record.job == world.job:
            graph.add(record_id, author, record)
    return graph


def runner_of(world: World, machine: Machine) -> JobRunner | None:
    return machine.core.jobs.runners.get(world.job) if machine.core is not None and world.job else None


def takes_part(world: World, machine: Machine) -> bool:
    return machine.spec.accepts and not machine.buried


def settled(world: World) -> str | None:
    """None when all nodes hold one head that ends the job; else what is still missing, in words."""
    heads: set[tuple[CommitId, BlobId]] = set()
    for machine in world.standing():
        if not machine.up:
            return f"{machine.spec.name} is not up"
        runner = runner_of(world, machine)
        if runner is None:
            return f"{machine.spec.name} does not know the job"
        if not takes_part(world, machine):
            continue
        held = runner.models.heads()
        if len(held) != 1:
            return f"{machine.spec.name} holds {len(held)} heads"
        reason = runner.view.finished(held[0])
        if reason is None:
            return f"{machine.spec.name}: round {held[0].round} is not the end"
        blob = runner.models.blob_of(held[0].id)
        assert blob is not None
        heads.add((held[0].id, blob))
    if len(heads) > 1:
        return f"{len(heads)} different heads: {', '.join(sorted(short(h) for h, _ in heads))}"
    return None


def broken(world: World, watch: Watch) -> list[str]:
    """All rules, after the quiet time."""
    found: list[str] = []
    waiting = settled(world)
    if waiting is not None:
        found.append(f"not settled: {waiting}")
        return found
    head = _final(world)
    graph = whole_graph(world)
    found += _counted(world, watch, graph, head)
    found += _lines(world, graph)
    found += list(_arithmetic(world, graph, head))
    found += list(_residuals(world))
    found += _alone(world, graph)
    found += _bounds(world, watch, graph)
    return found


def _final(world: World) -> CommitId:
    for machine in world.standing():
        runner = runner_of(world, machine)
        if runner is not None and takes_part(world, machine):
            return runner.models.heads()[0].id
    raise AssertionError("nobody takes part")


def _counted(world: World, watch: Watch, graph: Graph, head: CommitId) -> list[str]:
    """Every acknowledged update is counted, or discarded with a reason, in the final history."""
    folded: set[Key] = set()
    discarded: dict[Key, str] = {}
    for point in graph.ancestors(head):
        folded |= {Key(x.node, x.incarnation, x.sequence) for x in point.folded}
        if isinstance(point.record, Commit):
            for d in point.record.discarded:
                discarded[Key(d.node, d.incarnation, d.sequence)] = d.reason
    found = []
    for key in sorted(watch.acknowledged):
        if key not in folded and not discarded.get(key):
            found.append(f"lost: update {_named(world, key)} was durable on two nodes, nobody counts it")
    known = graph.points[head].counted
    if set(known) != folded | set(discarded):
        odd = sorted(set(known) ^ (folded | set(discarded)))
        found.append(f"the head's counted set differs from its history by {[_named(world, k) for k in odd]}")
    return found


def _lines(world: World, graph: Graph) -> list[str]:
    """No commit counts what its history counts already; counted = parent's + folded + discarded."""
    found = []
    for point in graph.points.values():
        record = point.record
        if not isinstance(record, Commit) or not record.parents:
            continue
        parent = graph.points[record.parents[0]]
        keys = [Key(x.node, x.incarnation, x.sequence) for x in record.folded]
        keys += [Key(x.node, x.incarnation, x.sequence) for x in record.discarded]
        twice = [k for k in keys if k in parent.counted] + [k for k in set(keys) if keys.count(k) > 1]
        if twice:
            found.append(f"counted twice: {short(point.id)} counts {[_named(world, k) for k in twice]} again")
        if parent.counted.plus(keys) != point.counted:
            found.append(f"the counted set of {short(point.id)} is not its parent's and its own")
        if any(not d.reason for d in record.discarded):
            found.append(f"{short(point.id)} discards without a reason")
    return found


def _alone(world: World, graph: Graph) -> list[str]:
    """Once a second node has taken part, one alone commits only after ten patiences."""
    found = []
    for point in graph.points.values():
        record = point.record
        if not isinstance(record, Commit) or not record.folded:
            continue
        parent = graph.points[record.parents[0]]
        before = {s.node for s in parent.spent if s.steps}
        need = max(world.spec.job.min_nodes, 2 if len(before) > 1 else 1)
        if len({x.node for x in record.folded}) >= need:
            continue
        since_s = world.archive.when[point.id] - world.archive.when[parent.id]
        out_of_time = world.spec.job.seconds is not None and point.age_s >= world.spec.job.seconds
        if since_s < ALONE_PATIENCES * world.spec.job.patience_s - 1e-6 and not out_of_time:
            found.append(f"alone too early: {short(point.id)} after {since_s:.0f} s")
    return found


def _bounds(world: World, watch: Watch, graph: Graph) -> list[str]:
    found = []
    merges = sum(p.is_merge for p in graph.points.values())
    if merges > MERGES_MAX:
        found.append(f"{merges} merges")
    for machine in world.standing():
        runner = runner_of(world, machine)
        core = machine.core
        if core is None or runner is None:
            continue
        for peer in core.exchange._peers.values():
            if len(peer.outbox) > OUTBOX_MAX or len(peer.wanted) > OUTBOX_MAX:
                found.append(f"{machine.spec.name}: an outbox of {len(peer.outbox)}")
        records_max = RECORDS_MAX + len(graph.points) * (
            RECORDS_A_COMMIT_MAX * len(world.machines) + RECORDS_A_COMMIT_MORE
        )
        if machine.disk.last_sequence() > records_max:
            found.append(f"{machine.spec.name} keeps {machine.disk.last_sequence()} records")
        if len(core.presence.table) > len(world.machines):
            found.append(f"{machine.spec.name} remembers {len(core.presence.table)} nodes")
        records = sum(len(r.wire) for r in machine.disk.since(0, 1 << 30))
        blobs = machine.disk.used_bytes() - records
        least = 24 * world.layout.blob_bytes  # heads, forks and the last few are kept in any case
        if takes_part(world, machine) and blobs > max(machine.spec.disk_limit_bytes, least):
            found.append(f"{machine.spec.name} keeps {blobs} bytes of blobs")
        for parent, plans in runner.view.plans.items():
            if len(plans) > PLANS_PER_COMMIT_MAX:
                found.append(f"{machine.spec.name}: {len(plans)} plans on {short(parent)}")
    if watch.tasks_max > TASKS_MAX * len(world.machines):
        found.append(f"{watch.tasks_max} tasks at once")
    return found


# ---- arithmetic -----------------------------------------------------------------------------------------


def _arithmetic(world: World, graph: Graph, head: CommitId) -> Iterator[str]:
    """The parameters of every commit of the final history follow from its parent's and its updates'."""
    params: dict[CommitId, NDArray[np.float32]] = {}
    layout = world.layout
    updates = {
        Key(author, r.incarnation, r.sequence): r
        for author, r in world.archive.records.values()
        if isinstance(r, Update) and r.job == world.job
    }
    for point in _parents_first(graph, head):
        record = point.record
        if isinstance(record, Merge):
            a, b = (graph.points[p] for p in record.parents)
            share = _share(graph, a, b)
            wide = share * params[a.id].astype(np.float64) + (1.0 - share) * params[b.id].astype(np.float64)
            params[point.id] = wide.astype(np.float32)
            for machine in world.standing():  # each node computed it for itself
                kept = machine.disk.state("merged/" + point.id.hex())
                if kept is not None and kept != _hash(world, params[point.id]):
                    yield f"arithmetic: {machine.spec.name} has another merge {short(point.id)}"
            continue
        blob = world.archive.blobs.get(record.params)
        if blob is None:
            yield f"the parameters of {short(point.id)} were never written"
            return
        w = np.asarray(unpack(layout, blob)["w"])
        params[point.id] = w
        if not record.parents:
            continue
        base = params[record.parents[0]]
        if _hash(world, base) != _params_hash(world, graph, record.parents[0], params):
            yield f"{short(point.id)} does not follow from its parent"
        moved = np.zeros(base.shape, np.float64)
        for x in record.folded:
            update = updates[Key(x.node, x.incarnation, x.sequence)]
            message = update.payload.inline or world.archive.blobs[update.payload.blob or b""]
            moved += decode_update(layout, message)["w"].astype(np.float64) * x.weight
        want = base.astype(np.float64) + moved
        if record.delta is None:
            off = float(np.abs(want - w).max())
            if off > 1e-5 * (1.0 + float(np.abs(want).max())):
                yield f"arithmetic: the parameters of {short(point.id)} are off by {off:.2g}"
        else:
            message = record.delta.inline or world.archive.blobs[record.delta.blob or b""]
            rebuilt = add(layout, {"w": base}, decode_update(layout, message))["w"]
            if rebuilt.tobytes() != w.tobytes():
                yield f"arithmetic: {short(point.id)} is not its parent plus its delta"


def _residuals(world: World) -> Iterator[str]:
    """What a node's messages left out so far is what it keeps: nothing is forgotten, nothing put in twice."""
    assert world.job is not None
    for machine in world.standing():
        life = machine.disk.incarnation
        trained = np.zeros(world.spec.job.weights, np.float64)
        sent = np.zeros(world.spec.job.weights, np.float64)
        count = 0
        for record_id in world.archive.updates:
            key, update = _update_of(world, record_id)
            if key.node != machine.node or key.incarnation != life or update.job != world.job:
                continue
            message = update.payload.inline or world.archive.blobs[update.payload.blob or b""]
            sent += decode_update(world.layout, message)["w"]
            trained += world.archive.trained[record_id]
            count += 1
        kept = residuals.load(machine.disk, "up", world.job)
        left = np.zeros_like(sent) if kept is None else kept.astype(np.float64)
        off = float(np.abs(trained - sent - left).max())
        if off > 1e-4 * count * (1.0 + float(np.abs(trained).max())):
            yield f"residual: {count} updates of {machine.spec.name} leave {off:.2g} behind"


def _params_hash(world: World, graph: Graph, commit: CommitId, params: dict[CommitId, Any]) -> BlobId:
    record = graph.points[commit].record
    return record.params if isinstance(record, Commit) else _hash(world, params[commit])


def _hash(world: World, w: NDArray[np.float32]) -> BlobId:
    return hashlib.sha256(pack(world.layout, {"w": w})).digest()


def _share(graph: Graph, a: Point, b: Point) -> float:
    """Design 5.7, written again: examples counted by one side only, capped at the lower median."""

    def only(this: Point, other: Point) -> dict[NodeId, int]:
        figures: dict[NodeId, int] = {}
        seen = set()
        for point in graph.ancestors(this.id):
            for x in point.folded:
                key = Key(x.node, x.incarnation, x.sequence)
                if key not in seen and key not in other.counted:
                    seen.add(key)
                    figures[x.node] = figures.get(x.node, 0) + x.examples
        return figures

    mine, theirs = only(a, b), only(b, a)
    every = sorted([*mine.values(), *theirs.values()])
    if not every:
        return 0.5
    cap = every[(len(every) - 1) // 2]
    weight_a, weight_b = (sum(min(x, cap) for x in side.values()) for side in (mine, theirs))
    return weight_a / (weight_a + weight_b) if weight_a + weight_b else 0.5


def _parents_first(graph: Graph, head: CommitId) -> list[Point]:
    order: list[Point] = []
    done: set[CommitId] = set()
    stack = [(head, False)]
    while stack:
        commit, ready = stack.pop()
        if commit in done:
            continue
        point = graph.points[commit]
        if ready:
            done.add(commit)
            order.append(point)
        else:
            stack.append((commit, True))
            stack.extend((p, False) for p in point.parents)
    return order


def _named(world: World, key: Key) -> str:
    machine = world.by_node.get(key.node)
    name = machine.spec.name if machine else short(key.node)
    return f"{name}/{key.incarnation % 1000}/{key.sequence}"
