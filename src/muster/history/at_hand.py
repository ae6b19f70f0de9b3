"""The records and states of a graph's points: in full for recent ones, packed or derived again for others.

A round of 300 nodes has some hundred kilobytes as objects and a few packed; the state of a job of 1,000 nodes
has half a megabyte.  So the records and states that were used last are at hand, a state is kept for good
every `KEPT_EVERY` points, and each other one is derived from the nearest such points before it.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from muster.history import state
from muster.history.point import Point
from muster.history.state import State
from muster.protocol.envelope import encode
from muster.protocol.ids import CommitId
from muster.protocol.records import Commit, Merge

AT_HAND = 128  # records, and states
KEPT_EVERY = 128  # points of a line: no more than are at hand, or a walk back derives each state many times
PLACE_BYTES = 3  # of a node in a packed record: its place in the roster

# What was packed here was checked before.
_decoder: msgspec.msgpack.Decoder[Commit | Merge] = msgspec.msgpack.Decoder(Commit | Merge)


class AtHand:
    """See `point.Recall`; `points` are the graph's."""

    def __init__(self, points: Mapping[CommitId, Point]) -> None:
        self._points = points
        self._records: OrderedDict[CommitId, Commit | Merge] = OrderedDict()
        self._packed: dict[CommitId, bytes] = {}
        self._states: OrderedDict[CommitId, State] = OrderedDict()
        self._kept: dict[CommitId, State] = {}
        self._since: dict[CommitId, int] = {}  # points of a line since one whose state is kept

    def add(self, point: Point, record: Commit | Merge, found: State) -> None:
        """Of a new point."""
        since = 1 + max((self._since[p] for p in point.parents), default=-1)
        self._since[point.id] = since % KEPT_EVERY
        if self._since[point.id] == 0:
            self._kept[point.id] = found
        self._use(self._states, point.id, found)
        self._use_record(point.id, record)

    def record(self, point: Point) -> Commit | Merge:
        found = self._records.get(point.id)
        if found is not None:
            self._records.move_to_end(point.id)
            return found
        found = _unpacked(self._packed[point.id], point)
        self._use_record(point.id, found)
        return found

    def state(self, point: Point) -> State:
        found = self._known(point.id)
        return found if found is not None else self._derived(point)

    def _known(self, commit: CommitId) -> State | None:
        found = self._states.get(commit)
        if found is not None:
            self._states.move_to_end(commit)
            return found
        return self._kept.get(commit)

    def _derived(self, point: Point) -> State:
        made: dict[CommitId, State] = {}
        stack = [point]
        while stack:
            current = stack[-1]
            parents = [made.get(p) or self._known(p) for p in current.parents]
            lacking = [p for p, s in zip(current.parents, parents, strict=True) if s is None]
            if lacking:
                stack += [self._points[p] for p in lacking]
                continue
            stack.pop()
            if current.id not in made:
                made[current.id] = follow(self.record(current), current.author, [s for s in parents if s])
        for commit, found in made.items():
            self._use(self._states, commit, found)
        return made[point.id]

    def _use(self, states: OrderedDict[CommitId, State], commit: CommitId, found: State) -> None:
        states[commit] = found
        states.move_to_end(commit)
        if len(states) > AT_HAND:
            states.popitem(last=False)

    def _use_record(self, commit: CommitId, record: Commit | Merge) -> None:
        self._records[commit] = record
        if len(self._records) > AT_HAND:
            old, gone = self._records.popitem(last=False)
            if old not in self._packed:
                self._packed[old] = _packed(gone, self._points[old])


def follow(record: Commit | Merge, author: bytes, before: list[State]) -> State:
    """The state behind a record; `before`: its parents'."""
    if isinstance(record, Merge):
        return state.merged(*before)
    return state.after(before[0] if before else None, record, author)


def _packed(record: Commit | Merge, point: Point) -> bytes:
    if isinstance(record, Merge):
        return encode(record)
    places = {node: place.to_bytes(PLACE_BYTES, "big") for place, node in enumerate(point.roster)}
    folded = tuple(replace(f, node=places[f.node]) for f in record.folded)
    return zlib.compress(encode(replace(record, folded=folded)), 1)


def _unpacked(packed: bytes, point: Point) -> Commit | Merge:
    record = _decoder.decode(packed if point.is_merge else zlib.decompress(packed))
    if isinstance(record, Merge):
        return record
    roster = point.roster
    folded = tuple(replace(f, node=roster[int.from_bytes(f.node, "big")]) for f in record.folded)
    return replace(record, folded=folded)
