"""Judges what follows from commits: counted sets, rosters, counters and digests (for invariants.py).

Written a second time, on plain sets and dictionaries, so that a fault in `history/` shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import msgspec

from muster.history.counted import Key
from muster.history.graph import Graph
from muster.history.point import Point
from muster.protocol.ids import NodeId, short
from muster.protocol.records import Commit
from muster.simulation.judging.arithmetic import parents_first
from muster.simulation.world import World

DIGEST_EVERY = 16  # rounds; written here again on purpose
MOST, MOST_J = 1 << 48, 1e300  # of a counter, and of joules


@dataclass(frozen=True)
class Derived:
    """What a history amounts to, by its commits alone; steps, examples, bytes and joules of each node."""

    counted: frozenset[Key]
    roster: tuple[NodeId, ...]
    spent: dict[NodeId, tuple[int, int, int, float]]


def lines(world: World, graph: Graph) -> Iterator[str]:
    """No commit counts what its history counts already, and all that follows from it is as it should be."""
    known: dict[bytes, Derived] = {}
    tips = [p for p in graph.points if p not in graph.children]
    for point in (p for tip in tips for p in parents_first(graph, tip)):
        if point.id not in known:
            before = [known[p] for p in point.parents]
            yield from _of_point(world, point, before)
            known[point.id] = found = _derived(point, before)
            yield from _compared(point, found)


def _of_point(world: World, point: Point, before: list[Derived]) -> Iterator[str]:
    if not isinstance(point.record, Commit):
        return
    keys, known = _keys(point.record), before[0].counted if before else frozenset()
    twice = [k for k in keys if k in known] + [k for k in set(keys) if keys.count(k) > 1]
    if twice:
        yield f"counted twice: {short(point.id)} counts {[named(world, k) for k in twice]} again"
    if any(not d.reason for d in point.record.discarded):
        yield f"{short(point.id)} discards without a reason"
    if set(point.record.joined) & set(before[0].roster if before else ()):
        yield f"roster: a node joins in {short(point.id)} that is on it"


def _derived(point: Point, before: list[Derived]) -> Derived:
    record = point.record
    counted = frozenset(k for b in before for k in b.counted)
    roster = list(dict.fromkeys(n for b in before for n in b.roster))
    spent = dict(before[0].spent) if before else {}
    if len(before) == 2:
        a, b = (d.spent for d in before)
        spent = {n: _most(a.get(n, (0, 0, 0, 0.0)), b.get(n, (0, 0, 0, 0.0))) for n in a | b}
    if isinstance(record, Commit):
        roster += record.joined
        for number, f in enumerate(record.folded):
            cost = record.costs[number] if record.costs else None
            there = cost is not None and not (point.author == f.node and _stands_in(record, number))
            down = min([record.params_bytes] + ([record.delta.size_bytes] if record.delta else []))
            size = cost.size_bytes + down if cost is not None and there else 0
            joules = cost.millijoules / 1000 if cost is not None else 0.0
            spent[f.node] = _sum(spent.get(f.node, (0, 0, 0, 0.0)), (f.steps, f.examples, size, joules))
        for s in record.spent:
            more = (s.steps, s.examples, s.bytes, s.joules)
            spent[s.node] = _sum(spent.get(s.node, (0, 0, 0, 0.0)), more)
        counted |= frozenset(_keys(record))
    return Derived(counted, tuple(roster), spent)


def _compared(point: Point, found: Derived) -> Iterator[str]:
    if set(point.counted) != found.counted:
        yield f"the counted set of {short(point.id)} is not its parents' and its own"
    if point.roster != found.roster:
        yield f"roster: that of {short(point.id)} is not its parents' and who joined"
    spent = {s.node: (s.steps, s.examples, s.bytes, s.joules) for s in point.spent}
    if spent != found.spent:
        odd = [short(n) for n in spent | found.spent if spent.get(n) != found.spent.get(n)]
        yield f"spent: {short(point.id)} has other counters of {', '.join(odd)} than its history"
    if not isinstance(point.record, Commit):
        return
    due = point.round > 0 and point.round % DIGEST_EVERY == 0
    if point.record.digest != (_digest(found) if due else b""):
        yield f"digest: that of {short(point.id)} is not that of its history"


def _digest(found: Derived) -> bytes:
    ranges = []
    for (node, life), keys in groupby(sorted(found.counted), lambda k: (k.node, k.incarnation)):
        numbers = [k.sequence for k in keys]
        for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
            row = [number for _, number in run]
            ranges.append([node, life, row[0], row[-1]])
    spent = [[node, *figures] for node, figures in sorted(found.spent.items())]
    return hashlib.sha256(msgspec.msgpack.encode([ranges, found.roster, spent])).digest()


def _keys(record: Commit) -> list[Key]:
    counted = [Key(f.node, f.incarnation, f.sequence) for f in record.folded]
    return counted + [Key(d.node, d.incarnation, d.sequence) for d in record.discarded]


def _stands_in(record: Commit, number: int) -> bool:
    return any(s.place == number for s in record.stand_ins)


def _sum(a: tuple[int, int, int, float], b: tuple[int, int, int, float]) -> tuple[int, int, int, float]:
    steps, examples, size, joules = (x + y for x, y in zip(a, b, strict=True))
    return min(MOST, int(steps)), min(MOST, int(examples)), min(MOST, int(size)), min(MOST_J, joules)


def _most(a: tuple[int, int, int, float], b: tuple[int, int, int, float]) -> tuple[int, int, int, float]:
    steps, examples, size, joules = (max(x, y) for x, y in zip(a, b, strict=True))
    return int(steps), int(examples), int(size), joules


def named(world: World, key: Key) -> str:
    machine = world.by_node.get(key.node)
    name = machine.spec.name if machine else short(key.node)
    return f"{name}/{key.incarnation % 1000}/{key.sequence}"
