"""Recomputes a history: commits, merges, closing commits and residuals (for invariants.py).

Nothing here trusts what the product computed: parameters are rebuilt from the archive of all that was
written, by formulas that are written a second time on purpose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from muster.compression.model import decode_update, flatten
from muster.compression.tensors import pack, unpack
from muster.history.counted import Key
from muster.history.graph import Graph, Point
from muster.job.models import residuals
from muster.planning.step_size import of_round
from muster.protocol.records import (
    BlobId,
    Commit,
    CommitId,
    Folded,
    Job,
    Measurement,
    Merge,
    NodeId,
    Payload,
    Plan,
    Update,
    short,
)
from muster.simulation.archive import Left
from muster.simulation.world import Asked, World

Vector: TypeAlias = NDArray[np.float32]
OFF_MAX = 1e-5  # of a commit folded in fp64, relative


def arithmetic(world: World, asked: Asked, graph: Graph, head: CommitId) -> Iterator[str]:
    """The parameters of every commit of the final history follow from its parent's and its updates'."""
    params: dict[CommitId, Vector] = {}
    updates = {
        Key(author, r.incarnation, r.sequence): r
        for author, r in world.archive.records.values()
        if isinstance(r, Update) and r.job == asked.id
    }
    for point in _parents_first(graph, head):
        record = point.record
        if isinstance(record, Merge):
            params[point.id] = _merged(graph, point, params)
            yield from _same_everywhere(world, point, params[point.id])
            continue
        blob = world.archive.blobs.get(record.params)
        if blob is None:
            yield f"the parameters of {short(point.id)} were never written"
            return
        params[point.id] = _vector(world, blob)
        if record.parents:
            yield from _follows(world, asked, graph, point, record, params, updates)


def _follows(
    world: World,
    asked: Asked,
    graph: Graph,
    point: Point,
    record: Commit,
    params: dict[CommitId, Vector],
    updates: dict[Key, Update],
) -> Iterator[str]:
    parent = graph.points[record.parents[0]]
    base, mine = params[parent.id], params[point.id]
    if _hash(world, base) != _params_id(world, parent, params):
        yield f"{short(point.id)} does not follow from its parent"
    if not record.folded:
        means = any(_equal(mine, mean) for mean in _means(asked, graph, parent, params))
        if not means and not any(_equal(mine, params[c]) for c in _better(world, asked, graph, parent)):
            yield f"arithmetic: {short(point.id)} counts nothing, yet is no mean of its line and none better"
        return
    before, after = world.archive.left.get(point.id, (None, None))
    if record.delta is not None:
        message = _message(world, record.delta)
        rebuilt = (base + flatten(world.layout, decode_update(world.layout, message))).astype(np.float32)
        if not _equal(rebuilt, mine):
            yield f"arithmetic: {short(point.id)} is not its parent plus its delta"
    moved = np.zeros(base.shape, np.float64)
    for x in record.folded:
        message = _message(world, updates[_key(x)].payload)
        moved += flatten(world.layout, decode_update(world.layout, message)).astype(np.float64) * x.weight
    want = base.astype(np.float64) + moved
    wants = [want]
    _, job = world.archive.records[asked.id]
    assert isinstance(job, Job)
    stays = {s.place for s in record.stand_ins}
    costs = [cost for place, cost in enumerate(record.costs) if place not in stays] or record.costs
    momentum, _ = of_round(job, (cost.codec for cost in costs))
    if momentum and len(parent.parents) == 1:
        older = params[parent.parents[0]].astype(np.float64)
        with_momentum = want + momentum * (base.astype(np.float64) - older)
        wants = [with_momentum, want]  # a coordinator that does not hold the one before goes without
    owed, owes = _lacks(graph, before, parent.id, base.size), _lacks(graph, after, point.id, base.size)
    off = min(float(np.abs(w + owed - mine - owes).max()) for w in wants)
    if off > OFF_MAX * (1.0 + float(np.abs(want).max()) + float(np.abs(owed).max())):
        yield f"arithmetic: the parameters of {short(point.id)} are off by {off:.2g}"


def _lacks(graph: Graph, left: Left | None, head: CommitId, size: int) -> NDArray[np.float64]:
    """The part that the model of `head` lacks of what a coordinator's commits left out."""
    if left is None:
        return np.zeros(size, np.float64)
    tag, vector = left

    def part(commit: CommitId) -> float:
        if commit not in parts:
            parents = graph.points[commit].parents
            share = _share(graph, *(graph.points[p] for p in parents)) if len(parents) == 2 else 1.0
            parts[commit] = sum(w * part(p) for w, p in zip((share, 1.0 - share), parents, strict=False))
        return parts[commit]

    parts = {tag: 1.0}
    for point in _parents_first(graph, head):  # so that `part` is never called deep
        part(point.id)
    return parts[head] * vector.astype(np.float64)


def _means(asked: Asked, graph: Graph, parent: Point, params: dict[CommitId, Vector]) -> Iterator[Vector]:
    """What a commit that counts nothing may be: its parent, or the mean of its line's last models."""
    yield params[parent.id]
    line = [params[parent.id].astype(np.float64)]
    while len(line) < asked.spec.average and len(parent.parents) == 1:
        parent = graph.points[parent.parents[0]]
        if not parent.folded:
            return
        line.append(params[parent.id].astype(np.float64))
        total = line[0].copy()
        for vector in line[1:]:
            total += vector
        yield (total / len(line)).astype(np.float32)


def _better(world: World, asked: Asked, graph: Graph, parent: Point) -> Iterator[CommitId]:
    """Commits before `parent` that are better than it on the common set, which is measured whole here each
    time. The best of them may not have been held by who closed the job, nor its figures known there."""
    sign, name = (-1.0, "loss") if asked.spec.by_loss else (1.0, "accuracy")
    scores: dict[CommitId, float] = {}
    for _, record in world.archive.records.values():
        if isinstance(record, Measurement) and record.job == asked.id and record.common:
            of = [f for f in record.figures if f.name == name]
            scores[record.commit] = max(sign * f.sum / f.count for f in of)
    for point in _parents_first(graph, parent.id):
        if scores.get(point.id, -np.inf) > scores.get(parent.id, -np.inf):
            yield point.id


def _merged(graph: Graph, point: Point, params: dict[CommitId, Vector]) -> Vector:
    a, b = (graph.points[p] for p in point.parents)
    share = _share(graph, a, b)
    wide = share * params[a.id].astype(np.float64) + (1.0 - share) * params[b.id].astype(np.float64)
    return np.asarray(wide.astype(np.float32))


def _same_everywhere(world: World, point: Point, vector: Vector) -> Iterator[str]:
    """Every node computed the same merge."""
    for machine in world.standing():
        kept = machine.disk.state("merged/" + point.id.hex())
        if kept is not None and kept != _hash(world, vector):
            yield f"arithmetic: {machine.spec.name} has another merge {short(point.id)}"


def residue(world: World, asked: Asked, graph: Graph) -> Iterator[str]:
    """What a node's messages left out so far is what it keeps: nothing is forgotten, nothing put in twice.

    What a coordinator's commits had left out when another one took over comes in by its next update, divided
    by the weight that this one has if the round goes as planned.
    """
    size = world.layout.parameters
    for machine in world.standing():
        possible, sent = [np.zeros(size, np.float64)], np.zeros(size, np.float64)
        count = 0
        for record_id in world.archive.updates:
            key, update = world.archive.update(record_id)
            if (key.node, key.incarnation, update.job) != (machine.node, machine.disk.incarnation, asked.id):
                continue
            sent += flatten(world.layout, decode_update(world.layout, _message(world, update.payload)))
            for trained in possible:
                trained += world.archive.trained[record_id]
            brought = world.archive.brought.get(record_id)
            if brought is not None:
                left_out, offers = brought
                lacks = _lacks(graph, left_out, update.base, size)
                weights = set(_weights(world, key.node, update, offers))
                possible = [trained + lacks / weight for trained in possible for weight in weights]
            count += 1
        kept = residuals.load(machine.disk, "up", asked.id)
        left = np.zeros(size, np.float64) if kept is None else kept.astype(np.float64)
        offs = [float(np.abs(trained - sent - left).max()) for trained in possible]
        wide = [1e-4 * count * (1.0 + float(np.abs(trained).max())) for trained in possible]
        if all(off > most for off, most in zip(offs, wide, strict=True)):
            yield f"residual: {count} updates of {machine.spec.name} leave {min(offs):.2g} behind"


def _weights(world: World, node: NodeId, update: Update, offers: Sequence[NodeId]) -> Iterator[float]:
    """Of a node's update in a round: by samples, and less than in proportion to its steps, in one of
    the plans that it may have followed. A node that has not heard of others' samples takes them to be its
    own; it had heard of them from the first few of `offers`, or from all."""
    samples = {machine.node: machine.spec.samples for machine in world.machines.values()}
    heard = [{n: samples[n if n in offers[:i] else node] for n in samples} for i in range(len(offers) + 1)]
    for author, plan in world.archive.records.values():
        if not isinstance(plan, Plan) or plan.parent != update.base or author == node:
            continue
        steps = {a.node: a.steps for a in plan.assignments}
        if node not in steps:
            continue
        for known in heard:
            instead = [(known[n], a.steps) for a in plan.stand_ins for n in a.data]
            total = sum(known[n] for n in steps) + sum(n for n, _ in instead)
            mean = (sum(known[n] * k for n, k in steps.items()) + sum(n * k for n, k in instead)) / total
            weight = known[node] / total * min(4.0, (mean / steps[node]) ** 0.5)
            yield min(1.0, max(0.01, weight))


def _share(graph: Graph, a: Point, b: Point) -> float:
    """A merge's share of `a`, written again: examples that one side counts, capped at the lower median."""

    def only(this: Point, other: Point) -> dict[NodeId, int]:
        figures: dict[NodeId, int] = {}
        seen = set()
        for record in (point.record for point in graph.ancestors(this.id)):
            if isinstance(record, Merge):
                continue
            instead = {s.place: s.data for s in record.stand_ins}
            for place, x in enumerate(record.folded):
                key = _key(x)
                if key in seen or key in other.counted:
                    continue
                seen.add(key)
                nodes = [record.roster[i] for i in instead.get(place, ())] or [x.node]
                for i, node in enumerate(nodes):
                    more = x.examples // len(nodes) + (i < x.examples % len(nodes))
                    figures[node] = figures.get(node, 0) + more
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


def _key(x: Folded) -> Key:
    return Key(x.node, x.incarnation, x.sequence)


def _message(world: World, payload: Payload) -> bytes:
    return payload.inline or world.archive.blobs[payload.blob or b""]


def _vector(world: World, blob: bytes) -> Vector:
    return flatten(world.layout, unpack(world.layout, blob))


def _params_id(world: World, point: Point, params: dict[CommitId, Vector]) -> BlobId:
    return point.record.params if isinstance(point.record, Commit) else _hash(world, params[point.id])


def _equal(a: Vector, b: Vector) -> bool:
    return a.tobytes() == b.tobytes()


def _hash(world: World, vector: Vector) -> BlobId:
    """The id of a flat vector as a model's blob."""
    arrays, offset = {}, 0
    for spec in world.layout.tensors:
        arrays[spec.name] = vector[offset : offset + spec.size].reshape(spec.shape)
        offset += spec.size
    return hashlib.sha256(pack(world.layout, arrays)).digest()
