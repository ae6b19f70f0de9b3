"""Narrow links get contributions when the job is over."""

from __future__ import annotations

from muster.job.figures import of_classes, sorted_figures
from muster.job.forwarding import DEFER_S_MAX, awaits, defer, made_by, obsolete, unacknowledged
from muster.job.view import JobView
from muster.network.sync.deferred import Deferral
from muster.network.sync.ledger import Entry
from muster.protocol.envelope import id_of
from muster.protocol.ids import NOBODY, NodeId
from muster.protocol.parts import Folded, Payload, Recipe, StopRule
from muster.protocol.records import Commit, Contribution, Job, Measurement, Record, Refusal, Shared, Update

A = b"A" * 32
ID = b"j" * 32


def entry(record: Record, author: NodeId = A) -> Entry:
    return Entry(id_of(author, record), author, record, b"", 1, 100)


def child(parent: Entry | None) -> Entry:
    before = parent.record if parent else None
    round_ = before.round + 1 if isinstance(before, Commit) else 0
    folded = (Folded(A, 1, round_, 4, 4, 0, 1.0),) if round_ else ()
    parents, joined = ((parent.id,), ()) if parent else ((), (A,))
    return entry(Commit(ID, parents, round_, folded, joined, (), 1.0, bytes([round_]) * 32, 100))


ROOT = child(None)
FIRST = child(ROOT)
LAST = child(FIRST)
VALUES = entry(Contribution(ID, FIRST.id, 100, True, 0.1, b"\0" * 4))
FIGURES = entry(Measurement(ID, FIRST.id, 100, sorted_figures(of_classes(100, 60, 9.0)), True))


def view_of(*entries: Entry) -> JobView:
    view = JobView(ID, Job("t", b"f", Recipe(0.1, 1, 4, 0), StopRule(rounds=2), 1, 10.0, b"n"), A)
    for each in entries:
        view.absorb(each)
    return view


def test_what_updates_were_worth_waits_while_the_job_goes_on() -> None:
    view = view_of(ROOT, FIRST)
    head, last = view.graph.points[FIRST.id], view_of(ROOT, FIRST, LAST).graph.points[LAST.id]
    assert defer(view, [head], A, VALUES.record) == Deferral(NOBODY, DEFER_S_MAX)
    assert defer(view, [last], A, VALUES.record) is None


def test_a_neighbour_that_was_spared_hears_in_a_new_session_of_what_it_was_spared() -> None:
    view = view_of(ROOT, FIRST, VALUES, FIGURES)
    heads = [view.graph.points[FIRST.id]]
    assert set(unacknowledged(view, heads, had_deferred=True)) == {VALUES.id, FIGURES.id}
    assert unacknowledged(view, heads, had_deferred=False) == []


def test_a_payload_is_awaited_until_a_held_head_counts_it() -> None:
    first, blob, other = FIRST.record, b"p" * 32, b"o" * 32
    assert isinstance(first, Commit)
    (folded,) = first.folded
    update = Update(
        ID, ROOT.id, 0, folded.incarnation, folded.sequence, 4, 4, 1.0, Payload("dense32", 9_000, blob=blob)
    )
    view, b = view_of(ROOT, FIRST, entry(update)), b"B" * 32
    root, counting = view.graph.points[ROOT.id], view.graph.points[FIRST.id]
    assert awaits(view, [root], b, blob)
    assert not awaits(view, [root], b, other)
    assert not awaits(view, [root, counting], b, blob)
    view.absorb(entry(Refusal(ID, 1, 1, "it takes no part"), b))
    assert not awaits(view, [root], b, blob)


def test_shared_samples_are_awaited_and_told_of_while_the_job_goes_on() -> None:
    b, blob = b"B" * 32, b"s" * 32
    payload = Payload("coreset", 900, blob=blob)
    samples = entry(Shared(ID, 1, 1, "samples", 9, 90, payload), b)
    view = view_of(ROOT, FIRST, LAST, samples)
    first, last = view.graph.points[FIRST.id], view.graph.points[LAST.id]
    assert awaits(view, [first], A, blob)
    assert not awaits(view, [last], A, blob)  # two rounds end the job
    assert not obsolete(view, [first], b, samples.record)
    assert obsolete(view, [last], b, samples.record)
    assert unacknowledged(view, [first], had_deferred=True) == [samples.id]
    assert unacknowledged(view, [first], had_deferred=False) == []
    assert unacknowledged(view, [last], had_deferred=True) == []
    assert made_by(view, b, blob)
    assert not made_by(view, A, blob)


def test_a_record_of_shared_samples_goes_to_the_coordinator_first_on_narrow_links() -> None:
    samples = entry(Shared(ID, 1, 1, "samples", 9, 90, Payload("coreset", 900, blob=b"s" * 32)), b"B" * 32)
    near = b"n" * 32
    view = view_of(ROOT, Entry(FIRST.id, A, FIRST.record, near, 1, 100))
    found = defer(view, [view.graph.points[FIRST.id]], b"B" * 32, samples.record)
    assert found is not None
    assert found.towards == near
