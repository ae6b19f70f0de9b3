"""What one node knows of one job: derived from records alone, in whatever order they come.

Absorbing a record twice, or two records in another order, gives the same view.  Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from muster.history.counted import Counted, Key
from muster.history.graph import Graph, Point
from muster.network.sync.ledger import Entry
from muster.protocol.envelope import encode
from muster.protocol.records import (
    Commit,
    CommitId,
    Contribution,
    Job,
    JobId,
    Measurement,
    Merge,
    NodeId,
    Offer,
    Plan,
    RecordId,
    Refusal,
    Stop,
    StopRule,
    Update,
)

ROUNDS_MAX = 10_000  # of a job: its history in memory is some 5 kB a round
ROUNDS_AT_HAND = 64  # behind the heads, whose updates and plans are kept in memory


@dataclass(frozen=True)
class KnownUpdate:
    id: RecordId
    key: Key
    record: Update
    source: NodeId


@dataclass(frozen=True)
class KnownPlan:
    id: RecordId
    author: NodeId
    record: Plan

    def superseded_by(self, plan_id: RecordId, record: Plan) -> bool:
        return (-record.number, plan_id) < (-self.record.number, self.id)


@dataclass(frozen=True)
class Figures:
    """A pooled evaluation of one commit."""

    examples: int
    correct: int
    loss_sum: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.examples

    @property
    def loss(self) -> float:
        return self.loss_sum / self.examples


@dataclass
class JobView:
    id: JobId
    job: Job
    asker: NodeId
    graph: Graph = field(default_factory=Graph)
    offers: dict[NodeId, Offer] = field(default_factory=dict)  # in the order of the first offers
    refusals: dict[NodeId, str] = field(default_factory=dict)
    plans: dict[CommitId, dict[NodeId, KnownPlan]] = field(default_factory=dict)
    updates: dict[Key, KnownUpdate] = field(default_factory=dict)
    measurements: dict[CommitId, dict[NodeId, Measurement]] = field(default_factory=dict)
    contributions: dict[CommitId, dict[NodeId, Contribution]] = field(default_factory=dict)
    sources: dict[CommitId, NodeId] = field(default_factory=dict)
    stopped: str | None = None
    _refused: dict[NodeId, Refusal] = field(default_factory=dict)
    _stop: RecordId = b""
    _uncounted: tuple[Counted | None, int, list[KnownUpdate]] = field(default=(None, 0, []), compare=False)

    def absorb(self, entry: Entry) -> list[Point]:
        """Take in one record of this job; the points of history that it completed."""
        record, author = entry.record, entry.author
        if isinstance(record, Commit | Merge):
            self.sources.setdefault(entry.id, entry.source)
            return self.graph.add(entry.id, author, record)
        if isinstance(record, Offer | Refusal):
            self._absorb_answer(author, record)
        elif isinstance(record, Plan):
            by_author = self.plans.setdefault(record.parent, {})
            if author not in by_author or by_author[author].superseded_by(entry.id, record):
                by_author[author] = KnownPlan(entry.id, author, record)
        elif isinstance(record, Update):
            key = Key(author, record.incarnation, record.sequence)
            if key not in self.updates or entry.id < self.updates[key].id:
                self.updates[key] = KnownUpdate(entry.id, key, record, entry.source)
                self._uncounted = (None, 0, [])
        elif isinstance(record, Measurement):
            by_node = self.measurements.setdefault(record.commit, {})
            if author not in by_node or _better(record, by_node[author]):
                by_node[author] = record
        elif isinstance(record, Contribution):
            of_commit = self.contributions.setdefault(record.commit, {})
            if author not in of_commit or _wider(record, of_commit[author]):
                of_commit[author] = record
        elif isinstance(record, Stop) and (self.stopped is None or entry.id < self._stop):
            self.stopped, self._stop = record.reason, entry.id
        return []

    def _absorb_answer(self, author: NodeId, word: Offer | Refusal) -> None:
        """The newest offer and the newest refusal of a node are known; it refuses if the latter is newer."""
        if isinstance(word, Offer):
            known = self.offers.get(author)
            if known is None or _newness(known) < _newness(word):
                self.offers[author] = word
        else:
            refused = self._refused.get(author)
            if refused is None or _newness(refused) < _newness(word):
                self._refused[author] = word
        last = self.last_answer(author)
        if isinstance(last, Refusal):
            self.refusals[author] = last.reason
        else:
            self.refusals.pop(author, None)

    def last_answer(self, node: NodeId) -> Offer | Refusal | None:
        """Whether a node takes part, as it said last."""
        words = [w for w in (self.offers.get(node), self._refused.get(node)) if w is not None]
        return max(words, key=_newness, default=None)

    def next_number(self, node: NodeId) -> int:
        """Of a node's next offer or refusal."""
        last = self.last_answer(node)
        return last.number + 1 if last is not None else 1

    def figures(self, commit: CommitId) -> Figures | None:
        """The pooled evaluation of a commit: the common set counts once, own parts add up."""
        by_node = self.measurements.get(commit)
        if not by_node:
            point = self.graph.points.get(commit)
            same = point is not None and self._same_model(point)
            return self.figures(point.parents[0]) if same and point is not None else None
        common = [m for m in by_node.values() if m.common]
        chosen = [max(common, key=lambda m: (m.examples, m.correct))] if common else list(by_node.values())
        examples = sum(m.examples for m in chosen)
        if examples == 0:
            return None
        return Figures(examples, sum(m.correct for m in chosen), sum(m.loss_sum for m in chosen))

    def values(self, commit: CommitId) -> Contribution | None:
        """What the updates of a commit were worth: its author's word alone, if it fits the commit."""
        point, by_node = self.graph.points.get(commit), self.contributions.get(commit)
        record = by_node.get(point.author) if point is not None and by_node else None
        fits = point is not None and record is not None and len(record.values) == 4 * len(point.folded)
        return record if fits else None

    def _same_model(self, point: Point) -> bool:
        """Whether a commit only closed the books on its parent: no update in it, the same parameters."""
        if point.folded or len(point.parents) != 1:
            return False
        parent = self.graph.points[point.parents[0]].record
        record = point.record
        return isinstance(parent, Commit) and isinstance(record, Commit) and parent.params == record.params

    def uncounted(self, counted: Counted) -> list[KnownUpdate]:
        """Updates that a history does not count yet, in key order."""
        if self._uncounted[0] is not counted or self._uncounted[1] != len(self.updates):
            found = [self.updates[k] for k in sorted(self.updates) if k not in counted]
            self._uncounted = (counted, len(self.updates), found)
        return self._uncounted[2]

    def trim(self, heads: Sequence[Point]) -> None:
        """Forget updates and plans that are far behind every head: the store has them, nobody asks for them.

        What stays of a round for good is its commit (`Graph`), some kilobytes; `ROUNDS_MAX` bounds them.
        """
        floor = min((h.round for h in heads), default=0) - ROUNDS_AT_HAND
        old = [
            key
            for key, update in self.updates.items()
            if update.record.base_round < floor and all(key in h.counted for h in heads)
        ]
        for key in old:
            del self.updates[key]
        points = self.graph.points
        for parent in [p for p in self.plans if p in points and points[p].round < floor]:
            del self.plans[parent]
        if old:
            self._uncounted = (None, 0, [])

    def closing_due(self, point: Point) -> bool:
        """Whether a head that ends the job waits for the mean of its line's last models (Recipe.average).

        A head that reached the target ends the job as it is: it is what was measured.
        """
        closed = bool(point.parents) and not point.folded and not point.is_merge
        if self.job.recipe.average <= 1 or self.stopped is not None or closed:
            return False
        target, figures = self.job.stop.target, self._figures_to_end(point)
        if target is not None and figures is not None and figures.accuracy >= target:
            return False
        return finished_by(self.job.stop, point, figures) is not None

    def finished(self, point: Point) -> str | None:
        """Why a head ends the job, or None. A property of the head alone (design section 5.9)."""
        if self.stopped is not None:
            return f"stopped: {self.stopped}"
        return finished_by(self.job.stop, point, self._figures_to_end(point))

    def _figures_to_end(self, point: Point) -> Figures | None:
        """This is asked very often, and only a target needs the figures."""
        return self.figures(point.id) if self.job.stop.target is not None else None


def _newness(word: Offer | Refusal) -> tuple[int, int, bytes]:
    """Numbers go on over a node's lives, as far as it knows them; of two lives' same number any may win, as
    long as it is the same one everywhere."""
    return (word.number, word.incarnation, encode(word))


def _better(a: Measurement, b: Measurement) -> bool:
    """Of two evaluations of a commit by one node the larger one counts, whichever came first."""
    return (a.examples, a.correct, a.loss_sum, a.common) > (b.examples, b.correct, b.loss_sum, b.common)


def _wider(a: Contribution, b: Contribution) -> bool:
    """Of two valuations of a commit by one node the one on more samples counts, whichever came first."""
    return (a.common, a.examples, a.drop, a.values) > (b.common, b.examples, b.drop, b.values)


def finished_by(rule: StopRule, point: Point, figures: Figures | None) -> str | None:
    if point.round >= ROUNDS_MAX:
        return f"{point.round} rounds are the most that a job can have: start the next one from its model"
    if rule.rounds is not None and point.round >= rule.rounds:
        return f"{point.round} rounds done"
    if rule.target is not None and figures is not None and figures.accuracy >= rule.target:
        return f"target reached: accuracy {figures.accuracy:.3f}"
    if rule.seconds is not None and point.age_s >= rule.seconds:
        return f"{rule.seconds:.0f} s are over"
    if rule.bytes is not None and sum(s.bytes for s in point.spent) >= rule.bytes:
        return f"{rule.bytes} bytes are spent"
    return None
