"""The history of a model: a graph of commits and merges, with its heads and the weights of its merges.

A merge has no author, time or measurement.  Everything about it is derived from its parents, so that every
node that knows the parents derives the same point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from muster.history.at_hand import AtHand, follow
from muster.history.counted import Counted, Key
from muster.history.credit import credits, parts
from muster.history.point import Point
from muster.history.state import State, digest
from muster.history.succession import Before, changes_fault, succession_fault, within
from muster.protocol.envelope import id_of
from muster.protocol.ids import NOBODY, CommitId, JobId, NodeId
from muster.protocol.records import Commit, Merge
from muster.protocol.validation.limits import has_digest


class Graph:
    """Owns the points of one job whose parents are all known; others wait outside until they are."""

    def __init__(self) -> None:
        self.points: dict[CommitId, Point] = {}
        self.children: dict[CommitId, set[CommitId]] = {}
        self.version = 0  # grows with every point
        self.refused: dict[CommitId, str] = {}  # why they are no points although their parents are
        self._incomplete: dict[CommitId, list[tuple[CommitId, NodeId, Commit | Merge]]] = {}
        self._shares: dict[tuple[CommitId, CommitId], float] = {}
        self._at_hand = AtHand(self.points)
        self._job: JobId | None = None  # of the first point, as of all others

    def add(self, commit_id: CommitId, author: NodeId, record: Commit | Merge) -> list[Point]:
        """Take in a commit or merge; returns the points that became complete by it, parents first."""
        complete: list[Point] = []
        stack = [(commit_id, author, record)]
        while stack:
            commit_id, author, record = stack.pop()
            if commit_id in self.points or commit_id in self.refused:
                continue
            missing = next((p for p in record.parents if p not in self.points), None)
            if missing is not None:
                incomplete = self._incomplete.setdefault(missing, [])
                if all(commit_id != known for known, _, _ in incomplete):
                    incomplete.append((commit_id, author, record))
                continue
            fault = self._fault(record)
            if fault is None:
                state, roster = self._behind(record, author)
                fault = _digest_fault(record, state, roster)
            if fault is not None:
                self.refused[commit_id] = fault
                continue
            point = self._point(commit_id, author, record, roster)
            self.points[commit_id], self._job = point, record.job
            self._at_hand.add(point, record, state)
            self.version += 1
            for parent in record.parents:
                self.children.setdefault(parent, set()).add(commit_id)
            complete.append(point)
            stack += reversed(self._incomplete.pop(commit_id, []))
        return complete

    def fault(self, record: Commit | Merge, author: NodeId) -> str | None:
        """Why a record can be no point, in one sentence; None also where a parent is not known."""
        if any(p not in self.points for p in record.parents):
            return None
        wrong = self._fault(record)
        if wrong is not None or isinstance(record, Merge) or not record.digest:
            return wrong
        return _digest_fault(record, *self._behind(record, author))

    def _fault(self, record: Commit | Merge) -> str | None:
        """Why a record cannot follow its parents, which are points."""
        if self._job not in (None, record.job):
            return "its parent is of another job"
        if isinstance(record, Merge):
            return None
        if not record.parents:
            return changes_fault(record, (), Counted())
        parent = self.points[record.parents[0]]
        if parent.shape is None and not record.shape:
            return "it does not say which channels the merge of branches that were pruned apart keeps"
        before = Before(
            parent.round, parent.age_s, None if parent.is_merge else parent.params_bytes, parent.shape
        )
        return succession_fault(record, before) or changes_fault(record, parent.roster, parent.counted)

    def _behind(self, record: Commit | Merge, author: NodeId) -> tuple[State, tuple[NodeId, ...]]:
        """State and roster behind a record that follows its parents."""
        parents = [self.points[p] for p in record.parents]
        state = follow(record, author, [self._at_hand.state(p) for p in parents])
        if isinstance(record, Merge):
            return state, _join_rosters(*(p.roster for p in parents))
        roster = parents[0].roster if parents else ()
        return state, (*roster, *record.joined) if record.joined else roster

    def missing(self) -> list[CommitId]:
        """The ids of parents that are named but not known."""
        return [p for p in self._incomplete if p not in self.points]

    def completed(self, record: Commit, author: NodeId) -> Commit:
        """A commit on a point with the digest that commits of its round carry."""
        if not has_digest(record.round):
            return record
        return replace(record, digest=digest(*self._behind(record, author)))

    def _point(
        self, commit_id: CommitId, author: NodeId, record: Commit | Merge, roster: tuple[NodeId, ...]
    ) -> Point:
        if isinstance(record, Commit):
            shape = record.shape or (self.points[record.parents[0]].shape if record.parents else b"")
            return Point(
                commit_id, record.parents, author, record.round, len(record.folded),
                len(record.stand_ins), roster, record.age_s, record.params, record.params_bytes,
                record.delta.blob if record.delta else None, shape, self._at_hand,
            )  # fmt: skip
        a, b = (self.points[p] for p in record.parents)
        share = self.share(a.id, b.id)
        round_ = int(share * a.round + (1.0 - share) * b.round + 0.5)
        return Point(
            commit_id, record.parents, NOBODY, round_, 0, 0, roster, max(a.age_s, b.age_s), b"", 0, None,
            _merged_shape(a.shape, b.shape), self._at_hand,
        )  # fmt: skip

    def prunes(self, point: Point) -> bool:
        """Whether a commit does nothing but leave out channels of its parent's model."""
        if point.is_merge or not point.parents:
            return False
        before = self.points[point.parents[0]].shape
        return before is not None and point.shape != before

    def ancestors(self, commit_id: CommitId, besides: Iterable[CommitId] = ()) -> Iterator[Point]:
        """The commit itself and all before it, newest rounds first within each line; none of `besides`, whose
        own ancestors are among them."""
        seen = set(besides)
        stack = [commit_id]
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            point = self.points[current]
            yield point
            stack.extend(point.parents)

    def heads(self, held: Callable[[CommitId], bool]) -> list[Point]:
        """Points that no other one replaces, among those whose parameters `held` says this node has.

        A head whose counted set contains another's replaces it; of equal sets the lower id stays, but a
        point never replaces its own descendant (an empty closing commit counts what its parent counts).
        Sorted by id.
        """
        candidates = [p for p in self.points.values() if held(p.id)]
        tips = self._tips(candidates)
        return sorted((p for p in tips if not any(_replaces(q, p) for q in tips if q is not p)), key=_id)

    def _tips(self, candidates: list[Point]) -> list[Point]:
        """Candidates that are no ancestor of another one: a cheap first cut."""
        ids = {p.id for p in candidates}
        covered: set[CommitId] = set()
        stack = [parent for p in candidates for parent in p.parents]
        while stack:
            current = stack.pop()
            if current not in covered:
                covered.add(current)
                stack.extend(self.points[current].parents)
        return [p for p in candidates if p.id in ids and p.id not in covered]

    def only(self, a: CommitId, b: CommitId) -> dict[NodeId, int]:
        """Examples per node in updates that the history of `a` counts and that of `b` does not.

        Those of a stand-in are its nodes', not its author's.
        """
        other = self.points[b].counted
        examples: dict[NodeId, int] = {}
        seen: set[Key] = set()
        for point in self.ancestors(a, {p.id for p in self.ancestors(b)}):
            for f, nodes in credits(point):
                key = Key(f.node, f.incarnation, f.sequence)
                if key not in other and key not in seen:
                    seen.add(key)
                    for node, count in parts(f.examples, nodes):
                        examples[node] = examples.get(node, 0) + count
        return examples

    def influence(self, old: CommitId, new: CommitId) -> float:
        """How much of a commit's parameters is in those of a later point: 0 to 1.

        It is 1 along a line, in a merge the parents' by their shares, and 0 when `new` does not come from
        `old`.
        """
        known = {old: 1.0}
        stack = [new]
        while stack:
            point = self.points[stack[-1]]
            unknown = [p for p in point.parents if p not in known]
            if point.id not in known and unknown:
                stack += unknown
                continue
            stack.pop()
            if point.id in known:
                continue
            parts = [known[p] for p in point.parents]
            if len(parts) == 2 and parts[0] != parts[1]:
                share = self.share(*point.parents)
                known[point.id] = share * parts[0] + (1.0 - share) * parts[1]
            else:
                known[point.id] = parts[0] if parts else 0.0
        return known[new]

    def rounds_apart(self, merge: Point) -> int:
        """How many rounds one parent of a merge has and the other one has not, of the side with fewer."""
        a, b = ({p.id for p in self.ancestors(parent) if p.updates} for parent in merge.parents)
        return min(len(a - b), len(b - a))

    def share(self, a: CommitId, b: CommitId) -> float:
        """The weight of `a` in the merge of a and b: W(a) / (W(a) + W(b)).

        Each node's examples are capped at the lower median over all such nodes of both sides, or a node
        that ran ahead alone would take over.
        """
        share = self._shares.get((a, b))
        if share is None:
            share = self._shares[a, b] = self._capped_share(a, b)
        return share

    def _capped_share(self, a: CommitId, b: CommitId) -> float:
        only_a, only_b = self.only(a, b), self.only(b, a)
        figures = sorted([*only_a.values(), *only_b.values()])
        if not figures:
            return 0.5
        cap = figures[(len(figures) - 1) // 2]
        weight_a = sum(min(x, cap) for x in only_a.values())
        weight_b = sum(min(x, cap) for x in only_b.values())
        return weight_a / (weight_a + weight_b) if weight_a + weight_b else 0.5


def _merged_shape(a: bytes | None, b: bytes | None) -> bytes | None:
    """The shape of a merge of models of two shapes: the one that keeps none but the other's channels."""
    if a is None or b is None:
        return None
    if within(a, b):
        return a
    return b if within(b, a) else None


def merge_of(job: bytes, a: CommitId, b: CommitId) -> tuple[CommitId, Merge]:
    """The merge of two heads, in whichever order they are named."""
    record = Merge(job, (min(a, b), max(a, b)))
    return id_of(NOBODY, record), record


def _replaces(q: Point, p: Point) -> bool:
    if not q.counted >= p.counted:
        return False
    return q.counted != p.counted or q.id < p.id


def _id(point: Point) -> CommitId:
    return point.id


def _join_rosters(a: tuple[NodeId, ...], b: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
    known = set(a)
    more = tuple(n for n in b if n not in known) if a is not b else ()
    return a + more if more else a


def _digest_fault(record: Commit | Merge, state: State, roster: tuple[NodeId, ...]) -> str | None:
    """Why a record that carries a digest does not fit the state and the roster behind it."""
    if isinstance(record, Merge) or not record.digest or record.digest == digest(state, roster):
        return None
    return "its digest is not that of what its history counts, of its roster and of what was spent"
