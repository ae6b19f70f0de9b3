"""What counts of a revoked member's records, in whatever order records and revocations come."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec
import pytest
from histories import ID, JOB, A, B, C, D, commit, entry, folded, update

from muster.history.graph import merge_of
from muster.job import roles
from muster.job.standing import Standing
from muster.job.view import JobView
from muster.network.sync.ledger import Entry
from muster.protocol.ids import NOBODY, NodeId, RecordId
from muster.protocol.parts import Assignment
from muster.protocol.records import Measurement, Offer, Plan, Stop

OWNER = b"o" * 32
ROOT = commit(None)
FIRST = commit(ROOT, folded(A, 1), params=b"1" * 32, author=C)  # by whom the tests revoke
SECOND = commit(FIRST, folded(A, 2), params=b"2" * 32, author=C)
THIRD = commit(SECOND, folded(A, 3), params=b"3" * 32, author=C)
SIDE = commit(ROOT, folded(B, 1), params=b"4" * 32, author=B)
MERGE = entry(NOBODY, merge_of(ID, FIRST.id, SIDE.id)[1])


@dataclass
class Fleet:
    """One node's view, which is made again at each revocation, as the registry does."""

    records: list[Entry] = field(default_factory=list)
    revoked: dict[NodeId, set[RecordId]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.again()

    def again(self) -> None:
        named: set[RecordId] = set().union(*self.revoked.values())
        standing = Standing(D, OWNER, self.revoked.__contains__, named.__contains__)
        self.view = JobView(ID, JOB, A, standing=standing)
        for record in self.records:
            self.view.absorb(record)

    def take(self, news: Entry | tuple[NodeId, set[RecordId]]) -> None:
        if isinstance(news, Entry):
            self.records.append(news)
            self.view.absorb(news)
        else:
            node, named = news
            self.revoked.setdefault(node, set()).update(named)
            self.again()

    def points(self) -> set[RecordId]:
        return set(self.view.graph.points)


def fleet(*news: Entry | tuple[NodeId, set[RecordId]]) -> Fleet:
    made = Fleet()
    for one in news:
        made.take(one)
    return made


@pytest.mark.parametrize("build", ["commit", "update", "plan"])
def test_what_others_built_on_counts_and_nothing_after_it(build: str) -> None:
    on_second = {
        "commit": commit(SECOND, folded(B, 1), params=b"5" * 32, author=B),
        "update": update(B, SECOND, 1),
        "plan": entry(B, Plan(ID, SECOND.id, 3, (Assignment(B, 4, "dense32"),), 1, 10.0)),
    }[build]
    made = fleet(ROOT, FIRST, SECOND, THIRD, (C, set()))
    assert made.points() == {ROOT.id}
    made.take(on_second)
    assert made.points() - {on_second.id} == {ROOT.id, FIRST.id, SECOND.id}


def test_a_merge_alone_is_nobodys_word() -> None:
    """Anybody can make one: only what follows it says that a node took it."""
    made = fleet(ROOT, FIRST, SIDE, MERGE, (C, set()))
    assert made.points() == {ROOT.id, SIDE.id}
    made.take(update(B, MERGE, 2))
    assert made.points() == {ROOT.id, SIDE.id, FIRST.id, MERGE.id}


def test_the_revocation_names_what_counts_besides() -> None:
    theirs = update(C, SIDE, 1)
    other = update(C, SIDE, 2)
    made = fleet(ROOT, FIRST, SECOND, THIRD, SIDE, theirs, other, (C, {SECOND.id, theirs.id}))
    assert made.points() == {ROOT.id, SIDE.id, FIRST.id, SECOND.id}
    assert [u.id for u in made.view.updates.values()] == [theirs.id]


def test_one_who_is_revoked_too_speaks_for_nobody() -> None:
    made = fleet(ROOT, FIRST, commit(FIRST, folded(B, 1), params=b"5" * 32, author=B), (C, set()))
    assert FIRST.id in made.points()
    made.take((B, set()))
    assert made.points() == {ROOT.id}


def test_what_it_said_besides_is_forgotten() -> None:
    figures = Measurement(ID, ROOT.id, 10, (), True)
    made = fleet(
        ROOT, entry(C, Offer(ID, 5, 1, 10, 0.1)), entry(B, Offer(ID, 5, 1, 10, 0.1)), entry(C, figures)
    )
    assert set(made.view.offers) == {B, C}
    made.take((C, set()))
    assert set(made.view.offers) == {B}
    assert not made.view.measurements
    head = msgspec.structs.replace(ROOT.record, joined=(C, B))  # type: ignore[type-var]
    rooted = fleet(entry(A, head), (C, set()))
    point = next(iter(rooted.view.graph.points.values()))
    assert roles.coordinator(rooted.view, point, lambda node: node != A) == B


def test_who_may_stop_a_job() -> None:
    for author, stops in ((A, True), (OWNER, True), (B, False)):
        made = fleet(ROOT, entry(author, Stop(ID, "enough")))
        assert (made.view.stopped == "enough") is stops
    named = JobView(ID, msgspec.structs.replace(JOB, stoppers=(B,)), A)
    named.absorb(entry(B, Stop(ID, "enough")))
    assert named.stopped == "enough"
    stop = entry(A, Stop(ID, "enough"))
    assert fleet(ROOT, stop, (A, set())).view.stopped is None
    assert fleet(ROOT, stop, (A, {stop.id})).view.stopped == "enough"


@pytest.mark.parametrize("seed", range(60))
def test_any_order_has_one_end(seed: int) -> None:
    rng = random.Random(seed)
    nodes, records, tips = [A, B, C], [ROOT], [ROOT]
    for number in range(1, rng.randint(4, 25)):
        author, base = rng.choice(nodes), rng.choice([t for t in tips if t.author != NOBODY])
        kind = rng.random()
        if kind < 0.55:
            made = commit(base, folded(author, number), params=bytes((number,)) * 32, author=author)
            tips.append(made)
        elif kind < 0.75 and len(tips) > 2:
            a, b = rng.sample(tips, 2)
            made = entry(NOBODY, merge_of(ID, a.id, b.id)[1])
            tips.append(made)
        else:
            made = update(author, rng.choice(tips), number)
        records.append(made)
    news: list[Entry | tuple[NodeId, set[RecordId]]] = [*records]
    news += [(node, {rng.choice(records).id}) for node in rng.sample(nodes, rng.randint(1, 2))]
    ends = set()
    for _ in range(6):
        rng.shuffle(news)
        made_fleet = fleet(*news)
        heads = [p.id for p in made_fleet.view.graph.heads(lambda _: True)]
        ends.add((frozenset(made_fleet.points()), frozenset(made_fleet.view.updates), tuple(heads)))
    assert len(ends) == 1
