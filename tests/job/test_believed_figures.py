"""Whose figures end a job: a node that says too much ends nothing."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from histories import FIRST, ID, JOB, ROOT, A, B, C, D, entry

from muster.job.figures import of_classes, sorted_figures
from muster.job.view import JobView
from muster.network.sync.ledger import Entry
from muster.protocol.ids import NodeId
from muster.protocol.parts import StopRule, Target
from muster.protocol.records import Measurement, Offer

TARGET = msgspec.structs.replace(JOB, stop=StopRule(target=Target("accuracy", 0.9)))


def said(node: NodeId, correct: int, *, examples: int = 100, common: bool = True) -> Entry:
    figures = sorted_figures(of_classes(examples, correct, 1.0))
    return entry(node, Measurement(ID, FIRST.id, examples, figures, common))


def finished(*entries: Entry) -> str | None:
    view = JobView(ID, TARGET, A)
    for e in (ROOT, FIRST, *entries):  # FIRST is by A; its roster is A and B
        view.absorb(e)
    return view.finished(view.graph.points[FIRST.id])


def test_a_node_that_is_not_of_the_roster_ends_nothing() -> None:
    assert finished(said(A, 95)) is not None
    assert finished(said(C, 100)) is None
    assert finished(said(C, 100, common=False)) is None


def test_the_coordinators_own_figures_decide() -> None:
    assert finished(said(A, 50), said(B, 100, examples=10_000)) is None
    assert finished(said(A, 95), said(B, 10, examples=10_000)) is not None
    assert finished(said(B, 95)) is not None  # it measures where the coordinator does not


def test_without_the_coordinators_one_of_three_ends_nothing() -> None:
    root = replace(ROOT, record=msgspec.structs.replace(ROOT.record, joined=(B, C, D)))  # type: ignore[type-var]
    view = JobView(ID, TARGET, A)
    view.absorb(root)
    for node, correct in ((B, 100), (C, 50), (D, 51)):
        record = Measurement(ID, root.id, 100, sorted_figures(of_classes(100, correct, 1.0)), True)
        view.absorb(entry(node, record))
    assert view.finished(view.graph.points[root.id]) is None


def test_own_samples_are_at_most_those_that_were_offered() -> None:
    offer = entry(B, Offer(ID, 5, 1, 50, 0.1))
    assert finished(offer, said(B, 50, examples=50, common=False)) is not None
    assert finished(offer, said(B, 51, examples=51, common=False)) is None
    honest = said(A, 10, examples=40, common=False)
    assert finished(offer, honest, said(B, 10**9, examples=10**9, common=False)) is None
