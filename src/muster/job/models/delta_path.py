"""Decides how a commit's parameters are made from those that a node holds: pure functions over the graph.

A commit's delta leads from its parent to it, one that prunes follows from its parent alone, and a merge is
computed from both parents, so a path of these leads to every commit whose missing ancestors have deltas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from muster.history.graph import Graph
from muster.history.point import Point
from muster.protocol.ids import CommitId
from muster.protocol.parts import Payload
from muster.protocol.records import Commit

# Commits in a row, each made by its delta from the one before it, or one merge.  What the first of them is
# made from is held, or is the last of an earlier segment.
Segment: TypeAlias = list[Point]
Held: TypeAlias = Callable[[CommitId], bool]

CHAIN_MAX = 1000  # commits of a path, decoded one after another; from there on a snapshot is less trouble
MERGES_MAX = 16  # of a path: the parents and the result of each are models on the disk


def delta_path(
    graph: Graph, target: Point, held: Held, cost: Callable[[Payload], int], limit_bytes: int
) -> list[Segment] | None:
    """The segments that make `target`, in order; None when no path is below `limit_bytes` and the limits.

    `cost` is the bytes of a delta that are still to come.  What both sides of a merge need counts once.
    """
    missing: set[CommitId] = set()
    merges, total_bytes = 0, 0
    stack = [target]
    while stack:
        point = stack.pop()
        if point.id in missing or held(point.id):
            continue
        missing.add(point.id)
        if isinstance(point.record, Commit):
            if len(point.parents) != 1 or (point.record.delta is None and not graph.prunes(point)):
                return None
            total_bytes += cost(point.record.delta) if point.record.delta is not None else 0
        else:
            merges += 1
        if total_bytes >= limit_bytes or len(missing) > CHAIN_MAX or merges > MERGES_MAX:
            return None
        stack += [graph.points[p] for p in point.parents]
    return _segments(graph, target, missing)


def merge_inputs(graph: Graph, merge: Point, held: Held) -> list[Point]:
    """The missing points that a merge is made from, down to commits, and the merge itself; parents first.

    It does not look behind a commit, because a commit's own parameters can be fetched.
    """
    missing: set[CommitId] = set()
    stack = [merge]
    while stack:
        point = stack.pop()
        if point.id not in missing and not held(point.id):
            missing.add(point.id)
            stack += [graph.points[p] for p in point.parents if point.is_merge]
    return _in_order(graph, merge, missing)


def missing_ancestors(graph: Graph, commits: Iterable[CommitId], held: Held) -> set[CommitId]:
    """Those of `commits` that are missing, and every missing point between them and what is held."""
    missing: set[CommitId] = set()
    stack = list(commits)
    while stack:
        commit = stack.pop()
        if commit not in missing and not held(commit):
            missing.add(commit)
            stack += graph.points[commit].parents
    return missing


def _segments(graph: Graph, target: Point, missing: set[CommitId]) -> list[Segment]:
    """The missing points in order, split after each one that is needed more than once, or by a merge."""
    ends: set[CommitId] = set()
    once: set[CommitId] = set()
    for commit in missing:
        point = graph.points[commit]
        if point.is_merge:
            ends |= {commit, *point.parents}
        ends |= once.intersection(point.parents)
        once.update(point.parents)
    segments: list[Segment] = []
    for point in _in_order(graph, target, missing):
        goes_on = segments and point.parents == (segments[-1][-1].id,) and point.parents[0] not in ends
        if goes_on:
            segments[-1].append(point)
        else:
            segments.append([point])
    return segments


def _in_order(graph: Graph, target: Point, missing: set[CommitId]) -> list[Point]:
    """The missing points up to `target`: parents first, and commits in a row without others between them."""
    done: set[CommitId] = set()
    order: list[Point] = []
    stack = [target]
    while stack:
        point = stack[-1]
        before = [graph.points[p] for p in point.parents if p in missing and p not in done]
        if before:
            stack += before
            continue
        stack.pop()
        if point.id not in done:
            done.add(point.id)
            order.append(point)
    return order
