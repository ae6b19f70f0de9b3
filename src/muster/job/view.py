"""Holds what one node knows of one job: derived from records alone, in whatever order they come.

Absorbing a record twice, or two records in another order, gives the same view.  Nothing here decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from muster.history.counted import Counted, Key
from muster.history.graph import Graph
from muster.history.point import Point
from muster.job.adapting.ending import UNNEEDED, unneeded
from muster.job.answer_ids import AnswerIds
from muster.job.figures import (
    Figures,
    Standstill,
    believed,
    better,
    deciding,
    extent,
    pooled,
    ranked,
    standstill,
)
from muster.job.standing import Standing
from muster.job.stop_rule import finished_by, judged, over_behind, over_of, target_reached
from muster.job.uncounted import KnownUpdate, Uncounted
from muster.network.sync.admission import NOT_THE_ASKERS
from muster.network.sync.ledger import Entry
from muster.protocol.ids import BlobId, CommitId, JobId, NodeId, RecordId
from muster.protocol.parts import Metric
from muster.protocol.records import (
    Commit,
    Contribution,
    Job,
    Measurement,
    Merge,
    Offer,
    Plan,
    Refusal,
    Shared,
    Stop,
    Update,
)
from muster.protocol.validation.limits import SEQUENCE_MAX

ROUNDS_AT_HAND = 64  # behind the heads, whose updates and plans are kept in memory


@dataclass(frozen=True, slots=True)
class KnownPlan:
    """A plan and its author."""

    id: RecordId
    author: NodeId
    record: Plan

    def superseded_by(self, plan_id: RecordId, record: Plan) -> bool:
        return (-record.number, plan_id) < (-self.record.number, self.id)


@dataclass
class JobView:
    """The job's history, offers, plans, updates, figures and contributions, as far as records are here."""

    id: JobId
    job: Job
    asker: NodeId
    graph: Graph = field(default_factory=Graph)
    offers: dict[NodeId, Offer] = field(default_factory=dict)  # in the order of the first offers
    refusals: dict[NodeId, str] = field(default_factory=dict)  # nodes that are out of the job, and why
    passes: dict[NodeId, Refusal] = field(default_factory=dict)  # nodes that are out of some rounds only
    plans: dict[CommitId, dict[NodeId, KnownPlan]] = field(default_factory=dict)
    updates: dict[Key, KnownUpdate] = field(default_factory=dict)
    measurements: dict[CommitId, dict[NodeId, Measurement]] = field(default_factory=dict)
    contributions: dict[CommitId, dict[NodeId, Contribution]] = field(default_factory=dict)
    shared: dict[NodeId, Shared] = field(default_factory=dict)  # the newest of each node
    # of what others share, by blob or the bytes themselves: how often this node's trainer failed over them
    sample_failures: Counter[bytes] = field(default_factory=Counter)
    # of shared samples that this process looked at: what is wrong with them, or ""
    seen_samples: dict[BlobId, str] = field(default_factory=dict)
    shares_none: str | None = None  # why this node shares no samples, as far as this process found out
    outdated_samples: set[BlobId] = field(default_factory=set)  # of shared samples that are not the newest
    sources: dict[CommitId, NodeId] = field(default_factory=dict)
    stopped: str | None = None
    stop: RecordId = b""  # the record by which
    standing: Standing = field(default_factory=Standing, compare=False)
    ids: AnswerIds = field(default_factory=AnswerIds, compare=False)
    _refused: dict[NodeId, Refusal] = field(default_factory=dict)
    given_up: str | None = None  # on this node, as long as it holds no model of the job (`beginning`)
    _uncounted: Uncounted = field(default_factory=Uncounted, compare=False)
    _standstills: dict[CommitId, Standstill | None] = field(default_factory=dict, compare=False)
    # both until figures come: commits with the best one first, and heads that are not the best of their line
    _ranked: tuple[int, list[tuple[Point, Figures]]] | None = field(default=None, compare=False)
    _bettered: dict[CommitId, bool] = field(default_factory=dict, compare=False)

    def absorb(self, entry: Entry) -> list[Point]:
        """Take in one record of this job; return the points of history that it completed."""
        counting = self.standing.admit(entry)
        if not counting and isinstance(entry.record, Shared) and entry.record.payload.blob is not None:
            self.outdated_samples.add(entry.record.payload.blob)  # nobody is to have them any more
        return [point for counts in counting for point in self._absorb(counts)]

    def _absorb(self, entry: Entry) -> list[Point]:
        record, author = entry.record, entry.author
        self.ids.note(entry)
        if isinstance(record, Commit | Merge):
            if not record.parents and author != self.asker:
                self.graph.refused.setdefault(entry.id, NOT_THE_ASKERS)
                return []
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
                known_update = KnownUpdate(entry.id, key, record, entry.source)
                self._uncounted.note(known_update, self.updates)
                self.updates[key] = known_update
        elif isinstance(record, Measurement):
            by_node = self.measurements.setdefault(record.commit, {})
            known, headline = by_node.get(author), self.headline
            if known is None or extent(record, headline) > extent(known, headline):
                by_node[author] = record
                self._standstills, self._bettered, self._ranked = {}, {}, None
        elif isinstance(record, Contribution):
            of_commit = self.contributions.setdefault(record.commit, {})
            if author not in of_commit or _wider(record, of_commit[author]):
                of_commit[author] = record
        elif isinstance(record, Shared):
            answers = (self.shared.get(author, record), record)
            older, newer = sorted(answers, key=lambda answer: self.ids.newness(author, answer))
            self.shared[author] = newer
            if older.payload.blob is not None and older.payload.blob != newer.payload.blob:
                self.outdated_samples.add(older.payload.blob)
        elif isinstance(record, Stop):
            first = self.stopped is None or entry.id < self.stop
            if first and self.standing.may_stop(author, self.asker, self.job):
                self.stopped, self.stop = record.reason, entry.id
        return []

    def _absorb_answer(self, author: NodeId, answer: Offer | Refusal) -> None:
        """Keep the newest offer and the newest refusal of a node; it refuses if the latter is newer."""
        if isinstance(answer, Offer):
            known = self.offers.get(author)
            if known is None or self.ids.newness(author, known) < self.ids.newness(author, answer):
                self.offers[author] = answer
        else:
            refused = self._refused.get(author)
            if refused is None or self.ids.newness(author, refused) < self.ids.newness(author, answer):
                self._refused[author] = answer
        last = self.last_answer(author)
        self.refusals.pop(author, None)
        self.passes.pop(author, None)
        if isinstance(last, Refusal) and last.round == 0:
            self.refusals[author] = last.reason
        elif isinstance(last, Refusal):
            self.passes[author] = last

    def why_not(self, node: NodeId, round_: int) -> str | None:
        """Why a node is given no work in a round, by what it said; None: it may be."""
        passed = self.passes.get(node)
        if passed is not None and passed.round >= round_:
            return passed.reason
        return self.refusals.get(node)

    def refusing(self) -> dict[NodeId, str]:
        """Nodes that take no part in the round that is going on, and why."""
        if not self.passes:
            return self.refusals
        round_ = self.round_now()
        return {**self.refusals, **{n: p.reason for n, p in self.passes.items() if p.round >= round_}}

    def round_now(self) -> int:
        """The round that is going on on the longest line that is known."""
        return max((point.round for point in self.graph.points.values()), default=0) + 1

    def last_answer(self, node: NodeId) -> Offer | Refusal | None:
        """A node's newest answer to the call for help, an offer or a refusal."""
        answers = [a for a in (self.offers.get(node), self._refused.get(node)) if a is not None]
        return max(answers, key=lambda answer: self.ids.newness(node, answer), default=None)

    def next_number(self, node: NodeId) -> int:
        """The number of a node's next offer or refusal."""
        last = self.last_answer(node)
        return min(SEQUENCE_MAX, last.number + 1) if last is not None else 1

    @property
    def headline(self) -> Metric:
        """What the job is judged by first."""
        return self.job.metrics[0]

    def figures(self, commit: CommitId) -> Figures | None:
        """The pooled evaluation of a commit: the common set counts once, own parts add up."""
        point = self.graph.points.get(commit)
        by_node = self.measurements.get(commit, {}) if point is None else self._believed(point)[1]
        return pooled(by_node.values(), self.headline)

    def _believed(self, point: Point) -> tuple[Point, dict[NodeId, Measurement]]:
        """The evaluations that count of a commit's model, and the commit of its line that has them."""
        while True:
            by_node = believed(self.measurements.get(point.id, {}), point.roster, self._offered)
            if by_node or not self._same_model(point):
                return point, by_node
            point = self.graph.points[point.parents[0]]

    def _offered(self, node: NodeId) -> int | None:
        """How many samples a node has, as it said; None: it said nothing."""
        offer = self.offers.get(node)
        return None if offer is None else offer.samples

    def _deciding(self, point: Point) -> Figures | None:
        """What a head's end is decided by: as `figures`, and of the common set what its author measured."""
        point, by_node = self._believed(point)
        return pooled(deciding(by_node, point.author, self.headline), self.headline)

    def best(self, held: Callable[[CommitId], bool]) -> Point | None:
        """The best commit of the job, by its headline, that was measured and is held; of equal ones the
        newest."""
        if self._ranked is None or self._ranked[0] != self.graph.version:
            self._ranked = (
                self.graph.version,
                ranked(self._measured(self.graph.points.values()), self.headline),
            )
        return next((p for p, _ in self._ranked[1] if held(p.id)), None)

    def _measured(self, points: Iterable[Point]) -> list[tuple[Point, Figures]]:
        return [(p, f) for p in points if (f := self.figures(p.id)) is not None]

    def values(self, commit: CommitId) -> Contribution | None:
        """The contributions to a commit as its author estimated them, if the record fits the commit."""
        point, by_node = self.graph.points.get(commit), self.contributions.get(commit)
        record = by_node.get(point.author) if point is not None and by_node else None
        fits = point is not None and record is not None and len(record.values) == 4 * point.updates
        return record if fits else None

    def _same_model(self, point: Point) -> bool:
        """Whether a commit has its parent's parameters and no update: it only closes or discards."""
        if point.updates or len(point.parents) != 1:
            return False
        return self.graph.points[point.parents[0]].params == point.params

    def uncounted(self, counted: Counted) -> list[KnownUpdate]:
        """Updates that a history does not count yet, in key order."""
        return self._uncounted.by(counted, self.updates)

    def trim(self, heads: Sequence[Point]) -> None:
        """Forget updates and plans that are far behind every head: the store has them, and nobody needs them.

        A round's commit stays for good (`Graph`), packed; `stop_rule.ROUNDS_MAX` bounds them.
        """
        floor = min((h.round for h in heads), default=0) - ROUNDS_AT_HAND
        counted = [h.counted for h in heads]
        old = [
            key
            for key, update in self.updates.items()
            if update.record.base_round < floor and all(key in c for c in counted)
        ]
        for key in old:
            del self.updates[key]
        points = self.graph.points
        for parent in [p for p in self.plans if p in points and points[p].round < floor]:
            del self.plans[parent]
        if old:
            self._uncounted = Uncounted()

    def closing_due(self, point: Point) -> bool:
        """Whether a head that ends the job waits for its closing commit: for the mean of its line's last
        models (Recipe.average), or as an earlier model was better, or was measured and the head is not yet.

        A head that reached the target ends the job as it is: it is what was measured.
        """
        changes = point.updates or point.is_merge or self.graph.prunes(point)
        closed = bool(point.parents) and not (changes or over_of(point))
        ended = self.stopped is not None or self.unneeded()
        if ended or closed or self.finished(point) is None:
            return False
        if target_reached(self.job.stop, self.job.metrics, self._figures_to_end(point)):
            return False
        if self.job.recipe.average > 1:
            return True
        if point.id not in self._bettered:
            own, best = self.figures(point.id), self._best_on_common(point, lambda _: True)
            self._bettered[point.id] = best is not None and better(best[1], own, self.headline)
        return self._bettered[point.id]

    def best_before(self, head: Point, held: Callable[[CommitId], bool]) -> Point | None:
        """The commit before a head that was better than it on the common set, if there is one: the best of
        those that are held. None also where the head was not measured there."""
        best, own = self._best_on_common(head, held), self.figures(head.id)
        if best is None or own is None or not own.common:
            return None
        return best[0] if better(best[1], own, self.headline) else None

    def _best_on_common(self, head: Point, held: Callable[[CommitId], bool]) -> tuple[Point, Figures] | None:
        as_small = (p for p in self.graph.ancestors(head.id) if p.shape == head.shape)
        line = ranked(self._measured(as_small), self.headline)
        return next(((p, f) for p, f in line if f.common and held(p.id)), None)

    def unneeded(self) -> bool:
        """Whether the job is over as nobody needs it any more, whatever its heads are."""
        return bool(self.job.like) and unneeded(self.asker, self.offers, self.refusals)

    def finished(self, point: Point) -> str | None:
        """Why a head ends the job, or None. Any node that knows the head and its figures says the same."""
        if self.stopped is not None:
            return f"stopped: {self.stopped}"
        if self.unneeded():
            return UNNEEDED
        figures, still = self._figures_to_end(point), self._standstill(point)
        return finished_by(self.job, point, figures, still, over_behind(self.graph, point))

    def _figures_to_end(self, point: Point) -> Figures | None:
        """The head's figures if they may end the job: nothing else needs them; asked very often."""
        return self._deciding(point) if judged(self.job, point.round) else None

    def _standstill(self, point: Point) -> Standstill | None:
        """Since when the line of a head got no better, if that may end the job; kept until figures come."""
        if self.job.stop.stale is None or not judged(self.job, point.round):
            return None
        if point.id not in self._standstills:
            before = (p for p in self.graph.ancestors(point.id) if judged(self.job, p.round))
            line = ((p.round, self._deciding(p)) for p in before)
            measured = [(round_, figures) for round_, figures in line if figures is not None]
            self._standstills[point.id] = standstill(measured, self.headline)
        return self._standstills[point.id]


def _wider(a: Contribution, b: Contribution) -> bool:
    """Whether `a` replaces `b`, contributions to one commit by one node: those on more samples count."""
    return (a.common, a.examples, a.drop, a.values) > (b.common, b.examples, b.drop, b.values)
