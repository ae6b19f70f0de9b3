"""Recomputes a history: commits, merges, closing commits and residuals (for invariants.py).

Nothing here trusts what the product computed: parameters are rebuilt from the archive of all that was
written, by formulas that are written a second time on purpose.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from muster.compression.model import decode_update, flatten
from muster.compression.tensors import pack, unpack
from muster.history.counted import Key
from muster.history.graph import Graph
from muster.history.point import Point
from muster.planning.step_size import of_round
from muster.protocol.ids import BlobId, CommitId, NodeId, short
from muster.protocol.parts import Folded, Payload
from muster.protocol.records import Commit, Job, Measurement, Merge, Update
from muster.simulation.archive import Left
from muster.simulation.judging import shapes as shaping
from muster.simulation.world import Asked, World

Vector: TypeAlias = NDArray[np.float32]
OFF_MAX = 1e-5  # of a commit folded in fp64, relative


def arithmetic(world: World, asked: Asked, graph: Graph, head: CommitId) -> Iterator[str]:
    """The parameters of every commit of the final history follow from its parent's and its updates'."""
    params: dict[CommitId, Vector] = {}  # of the whole model, with zeros where it was pruned
    shapes: dict[CommitId, bytes] = {}
    updates = {
        Key(author, r.incarnation, r.sequence): r
        for author, r in world.archive.records.values()
        if isinstance(r, Update) and r.job == asked.id
    }
    for point in parents_first(graph, head):
        record = point.record
        if isinstance(record, Merge):
            params[point.id], shapes[point.id] = _merged(world, graph, point, params, shapes)
            yield from _same_everywhere(world, point, params[point.id], shapes[point.id])
            continue
        blob = world.archive.blobs.get(record.params)
        if blob is None:
            yield f"the parameters of {short(point.id)} were never written"
            return
        shapes[point.id] = point.shape or b""
        params[point.id] = _vector(world, blob, shapes[point.id])
        if record.parents:
            yield from _follows(world, asked, graph, point, record, params, shapes, updates)


def _follows(
    world: World,
    asked: Asked,
    graph: Graph,
    point: Point,
    record: Commit,
    params: dict[CommitId, Vector],
    shapes: dict[CommitId, bytes],
    updates: dict[Key, Update],
) -> Iterator[str]:
    parent, shape = graph.points[record.parents[0]], shapes[point.id]
    base, mine, kept = params[parent.id], params[point.id], shaping.kept(world.layout, shape)
    if _hash(world, base, shapes[parent.id]) != _params_id(world, parent, params, shapes):
        yield f"{short(point.id)} does not follow from its parent"
    if shape != shapes[parent.id]:
        yield from _prunes(world, asked, point, base, mine, (shapes[parent.id], shape))
        return
    if not record.folded:
        means = any(_equal(mine, mean) for mean in _means(asked, graph, parent, params))
        if not means and not any(_equal(mine, params[c]) for c in _better(world, asked, graph, parent)):
            yield f"arithmetic: {short(point.id)} counts nothing, yet is no mean of its line and none better"
        return
    before, after = world.archive.left.get(point.id, (None, None))
    if record.delta is not None:
        message = message_of(world, record.delta)
        rebuilt = (base + decoded(world, message, shape)).astype(np.float32)
        if not _equal(rebuilt, mine):
            yield f"arithmetic: {short(point.id)} is not its parent plus its delta"
    moved = np.zeros(base.shape, np.float64)
    for x in record.folded:
        update = updates[_key(x)]
        change = decoded(
            world, message_of(world, update.payload), shape_of(world, graph, update.base, shapes)
        )
        moved += change.astype(np.float64) * x.weight * kept
    want = base.astype(np.float64) + moved
    wants = [want]
    _, job = world.archive.records[asked.id]
    assert isinstance(job, Job)
    stays = {s.place for s in record.stand_ins}
    costs = [cost for place, cost in enumerate(record.costs) if place not in stays] or record.costs
    helped = len(stays) == len(record.costs)
    momentum, _ = of_round(job, (cost.codec for cost in costs), helped=helped)
    while graph.prunes(parent):
        parent = graph.points[parent.parents[0]]
    if momentum and len(parent.parents) == 1:
        older = params[parent.parents[0]].astype(np.float64) * kept
        with_momentum = want + momentum * (base.astype(np.float64) - older)
        wants = [with_momentum, want]  # a coordinator that does not hold the one before goes without
    owed = lacks(world, graph, before, record.parents[0]) * kept
    owes = lacks(world, graph, after, point.id)
    off = min(float(np.abs(w + owed - mine - owes).max()) for w in wants)
    if off > OFF_MAX * (1.0 + float(np.abs(want).max()) + float(np.abs(owed).max())):
        yield f"arithmetic: the parameters of {short(point.id)} are off by {off:.2g}"


def _prunes(
    world: World, asked: Asked, point: Point, base: Vector, mine: Vector, shapes: tuple[bytes, bytes]
) -> Iterator[str]:
    """A commit that prunes keeps the largest channels, as many as are due, as they are."""
    job, (before, after) = asked.spec.prune, (shaping.rows(world.layout, s) for s in shapes)
    assert job is not None
    done = min(1.0, max(0, point.round - job.first + 1) / (job.last - job.first + 1))
    due = max(1, math.floor(len(before) * (1.0 - (1.0 - job.width) * done) + 0.5))
    if point.folded or int(after.sum()) != min(due, int(before.sum())):
        yield f"pruning: {short(point.id)} keeps {int(after.sum())} channels of {due} in round {point.round}"
    if not np.array_equal(after, shaping.largest(world.layout, [base], before, int(after.sum()))):
        yield f"pruning: {short(point.id)} keeps others than the largest channels"
    if not _equal(mine, np.where(shaping.kept(world.layout, shapes[1]), base, np.float32(0))):
        yield f"pruning: {short(point.id)} changes what it keeps"


def lacks(world: World, graph: Graph, left: Left | None, head: CommitId) -> NDArray[np.float64]:
    """The part that the model of `head` lacks of what a coordinator's commits left out."""
    if left is None:
        return np.zeros(world.layout.parameters, np.float64)
    tag = left[0]
    vector = shaping.spread(world.layout, shape_of(world, graph, tag), left[1])

    def part(commit: CommitId) -> float:
        if commit not in parts:
            parents = graph.points[commit].parents
            share = _share(graph, *(graph.points[p] for p in parents)) if len(parents) == 2 else 1.0
            parts[commit] = sum(w * part(p) for w, p in zip((share, 1.0 - share), parents, strict=False))
        return parts[commit]

    parts = {tag: 1.0}
    for point in parents_first(graph, head):  # so that `part` is never called deep
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
    for point in parents_first(graph, parent.id):
        if scores.get(point.id, -np.inf) > scores.get(parent.id, -np.inf):
            yield point.id


def _merged(
    world: World, graph: Graph, point: Point, params: dict[CommitId, Vector], shapes: dict[CommitId, bytes]
) -> tuple[Vector, bytes]:
    """A merge's parameters and shape: where one parent alone has a channel, it is as there."""
    a, b = (graph.points[p] for p in point.parents)
    layout, one, other = world.layout, shapes[a.id], shapes[b.id]
    has_a, has_b = (shaping.rows(layout, s) for s in (one, other))
    if not (has_a & ~has_b).any():
        shape = one
    elif not (has_b & ~has_a).any():
        shape = other
    else:
        count = min(int(has_a.sum()), int(has_b.sum()))
        both = shaping.largest(layout, [params[a.id], params[b.id]], has_a | has_b, count)
        shape = shaping.written(one, both)
    share = _share(graph, a, b)
    wide = share * params[a.id].astype(np.float64) + (1.0 - share) * params[b.id].astype(np.float64)
    in_a, in_b = (shaping.kept(layout, s) for s in (one, other))
    wide = np.where(in_a & in_b, wide, np.where(in_a, params[a.id], params[b.id]))
    return np.where(shaping.kept(layout, shape), wide, 0.0).astype(np.float32), shape


def _same_everywhere(world: World, point: Point, vector: Vector, shape: bytes) -> Iterator[str]:
    """Every node computed the same merge."""
    made = _hash(world, vector, shape)
    for machine in world.standing():
        kept = machine.disk.state("merged/" + point.id.hex())
        if kept is not None and kept != made + (shape if point.shape is None else b""):
            yield f"arithmetic: {machine.spec.name} has another merge {short(point.id)}"


def shape_of(
    world: World, graph: Graph, commit: CommitId, shapes: dict[CommitId, bytes] | None = None
) -> bytes:
    """The shape of a commit's model; of a merge of branches that were pruned apart as it was computed."""
    if shapes is not None and commit in shapes:
        return shapes[commit]
    point = graph.points.get(commit)
    if point is None or point.shape is not None:
        return (point.shape or b"") if point is not None else b""
    states = (machine.disk.state("merged/" + commit.hex()) for machine in world.standing())
    return next((state[32:] for state in states if state is not None), b"")


def _share(graph: Graph, a: Point, b: Point) -> float:
    """A merge's share of `a`, written again: examples that one side counts, capped at the lower median."""

    def only(this: Point, other: Point) -> dict[NodeId, int]:
        figures: dict[NodeId, int] = {}
        seen = set()
        for point in graph.ancestors(this.id):
            record = point.record
            if isinstance(record, Merge):
                continue
            instead = {s.place: s.data for s in record.stand_ins}
            for place, x in enumerate(record.folded):
                key = _key(x)
                if key in seen or key in other.counted:
                    continue
                seen.add(key)
                nodes = [point.roster[i] for i in instead.get(place, ())] or [x.node]
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


def parents_first(graph: Graph, head: CommitId) -> list[Point]:
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


def message_of(world: World, payload: Payload) -> bytes:
    return payload.inline or world.archive.blobs[payload.blob or b""]


def decoded(world: World, message: bytes, shape: bytes) -> Vector:
    """The change in a message of a model of a shape."""
    layout = shaping.smaller(world.layout, shape)
    return shaping.spread(world.layout, shape, flatten(layout, decode_update(layout, message)))


def _vector(world: World, blob: bytes, shape: bytes) -> Vector:
    layout = shaping.smaller(world.layout, shape)
    return shaping.spread(world.layout, shape, flatten(layout, unpack(layout, blob)))


def _params_id(
    world: World, point: Point, params: dict[CommitId, Vector], shapes: dict[CommitId, bytes]
) -> BlobId:
    record = point.record
    return record.params if isinstance(record, Commit) else _hash(world, params[point.id], shapes[point.id])


def _equal(a: Vector, b: Vector) -> bool:
    return a.tobytes() == b.tobytes()


def _hash(world: World, vector: Vector, shape: bytes) -> BlobId:
    """The id of a model's blob: of what a shape keeps of the whole vector."""
    arrays, offset, layout = {}, 0, shaping.smaller(world.layout, shape)
    vector = vector[shaping.kept(world.layout, shape)]
    for spec in layout.tensors:
        arrays[spec.name] = vector[offset : offset + spec.size].reshape(spec.shape)
        offset += spec.size
    return hashlib.sha256(pack(layout, arrays)).digest()
