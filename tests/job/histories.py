"""Small histories, as records: two rounds, a branch, and all that nodes said beside them."""

from __future__ import annotations

import numpy as np

from muster.compression.tensors import pack
from muster.history.graph import merge_of
from muster.history.point import Point
from muster.job.figures import of_classes, sorted_figures
from muster.job.view import JobView
from muster.network.sync.ledger import Entry
from muster.protocol.envelope import id_of
from muster.protocol.ids import NOBODY, CommitId, NodeId
from muster.protocol.parts import Assignment, Folded, Payload, Recipe, Spent, StopRule
from muster.protocol.records import (
    Commit,
    Job,
    Measurement,
    Merge,
    Offer,
    Plan,
    Record,
    Refusal,
    Stop,
    Update,
)
from muster.simulation.trainers.linear import layout_of
from muster.storage.memory import MemoryStore

A, B, C, D = b"A" * 32, b"B" * 32, b"C" * 32, b"D" * 32
JOB = Job("t", b"f", Recipe(0.1, 1, 4, 0), StopRule(rounds=3), 1, 10.0, b"n")
ID = b"j" * 32


def entry(author: NodeId, record: Record) -> Entry:
    return Entry(id_of(author, record), author, record, b"", 1, 100)


LAYOUT = layout_of(4)
rosters: dict[CommitId, tuple[NodeId, ...]] = {}  # of the commits that were made
PARAMS_BYTES = LAYOUT.blob_bytes


def commit(
    parent: Entry | None,
    *folded: Folded,
    params: bytes = b"p" * 32,
    author: NodeId = A,
    on: Point | None = None,
) -> Entry:
    """`on`: the parent as the graph has it, where it is a merge. Each update costs its node 10 bytes."""
    before = on or (parent.record if parent else None)
    assert not isinstance(before, Merge)
    round_ = before.round + 1 if before else 0
    roster = on.roster if on is not None else rosters[parent.id] if parent else ()
    nodes = [f.node for f in folded]
    joined = tuple(n for n in dict.fromkeys(nodes if before else (A, B)) if n not in roster)
    spent = tuple(Spent(n, 0, 0, 10 * nodes.count(n)) for n in sorted({*nodes}))
    record = Commit(
        ID, (parent.id,) if parent else (), round_, folded, joined, spent, 1.0, params, PARAMS_BYTES,
    )  # fmt: skip
    made = entry(author, record)
    rosters[made.id] = roster + joined
    return made


def update(node: NodeId, base: Entry, sequence: int, blob: bytes | None = None) -> Entry:
    payload = Payload("dense32", 4, inline=None if blob else b"abcd", blob=blob)
    return entry(node, Update(ID, base.id, 0, 1, sequence, 4, 4, 0.5, payload))


def folded(node: NodeId, sequence: int) -> Folded:
    return Folded(node, 1, sequence, 4, 4, 0, 0.5)


ROOT = commit(None)
FIRST = commit(ROOT, folded(A, 1), folded(B, 1), params=b"q" * 32)
BRANCH = commit(ROOT, folded(C, 1), params=b"s" * 32, author=C)
ENTRIES = [
    ROOT,
    FIRST,
    commit(FIRST, folded(A, 2), params=b"r" * 32),
    BRANCH,
    entry(NOBODY, merge_of(ID, FIRST.id, BRANCH.id)[1]),
    *[entry(n, Offer(ID, 5, number, 10, 0.1 * number)) for n in (A, B) for number in (1, 2, 3)],
    entry(A, Refusal(ID, 5, 2, "not now")),
    entry(D, Offer(ID, 5, 3, 10, 0.1)),
    entry(D, Refusal(ID, 5, 4, "no room")),
    entry(C, Refusal(ID, 5, 1, "before its disk was lost")),
    entry(C, Refusal(ID, 4, 1, "after that, before it heard of its former life")),
    entry(C, Offer(ID, 4, 2, 10, 0.1)),
    entry(A, Plan(ID, ROOT.id, 1, (Assignment(A, 4, "dense32"),), 1, 10.0, "one")),
    entry(A, Plan(ID, ROOT.id, 1, (Assignment(A, 4, "dense32"),), 1, 10.0, "two")),
    entry(B, Plan(ID, ROOT.id, 1, (Assignment(A, 4, "dense32"),), 1, 10.0, "one")),
    entry(B, Plan(ID, ROOT.id, 1, (Assignment(C, 4, "dense32"),), 1, 10.0, "instead", 1)),
    update(A, ROOT, 1),
    update(B, ROOT, 1),
    update(A, FIRST, 2),
    entry(A, Measurement(ID, FIRST.id, 10, sorted_figures(of_classes(10, 5, 1.0)), True)),
    entry(A, Measurement(ID, FIRST.id, 100, sorted_figures(of_classes(100, 60, 9.0)), True)),
    entry(B, Measurement(ID, FIRST.id, 100, sorted_figures(of_classes(100, 61, 9.0)), True)),
    entry(A, Stop(ID, "enough")),
    entry(B, Stop(ID, "no more")),
]


def view_of(entries: list[Entry]) -> JobView:
    view = JobView(ID, JOB, A)
    for e in entries:
        view.absorb(e)
    return view


def with_params(store: MemoryStore, parent: Entry | None, like: Entry, value: float) -> Entry:
    """A commit like another one, whose parameters are held."""
    assert isinstance(like.record, Commit)
    blob = store.put_blob(pack(LAYOUT, {"w": np.full(4, value, np.float32)}))
    return commit(parent, *like.record.folded, params=blob, author=like.author)
