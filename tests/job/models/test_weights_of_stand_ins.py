"""What a commit makes of updates that stand in for nodes: for whom they count, and with which weight."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.structure import Structure
from muster.compression.codecs.families import parse
from muster.compression.model import encode_update
from muster.compression.tensors import Layout, TensorSpec
from muster.history.counted import Counted, Key
from muster.history.credit import parts
from muster.history.graph import Graph
from muster.history.succession import changes_fault
from muster.job.models.folding import Outcome, RoundContext, fold
from muster.job.models.stand_ins import REPLACED, asked_for, for_momentum
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView, KnownPlan
from muster.protocol.ids import NodeId
from muster.protocol.parts import Assignment, Folded, Payload, Recipe, StandIn, StopRule
from muster.protocol.records import Commit, Job, Plan, Update
from muster.protocol.validation.validate import validate

JOB, ROOT = b"j" * 32, b"r" * 32
A, B, C, D = b"A" * 32, b"B" * 32, b"C" * 32, b"D" * 32
LAYOUT = Layout((TensorSpec("w", (4,), "float32"),))
FORM = Form.of(LAYOUT, Structure(), b"")
RECIPE = Recipe(lr=0.1, batch=10, steps=5, seed=0)
SAMPLES = {A: 100, B: 100, C: 200, D: 400}


def update(node: NodeId, sequence: int, value: float, *data: NodeId) -> KnownUpdate:
    message = encode_update(parse("dense32"), LAYOUT, {"w": np.full(4, value, np.float32)})
    payload = Payload("dense32", len(message), message)
    record = Update(JOB, ROOT, 0, 1, sequence, 5, 50, 0.1, payload, data=data)
    return KnownUpdate(
        hashlib.sha256(node + bytes([sequence])).digest(), Key(node, 1, sequence), record, node
    )


def folded(
    *updates: KnownUpdate, shared: dict[NodeId, int] | None = None, broken: NodeId | None = None
) -> Outcome:
    base = {"w": np.zeros(4, np.float32)}
    stand_for = {C: 200, D: 400} if shared is None else shared
    onto = RoundContext(
        FORM, lambda: base, None, 0, RECIPE, SAMPLES.__getitem__, lambda commit: 1.0, lambda commit: FORM,
        shared=stand_for,
    )  # fmt: skip
    read = {u.id: b"" if u.key.node == broken else u.record.payload.inline or b"" for u in updates}
    return fold(onto, updates, lambda u: read[u.id])


def weights(outcome: Outcome) -> dict[tuple[NodeId, ...], float]:
    return {nodes: f.weight for nodes, f in zip(outcome.counts_for, outcome.folded, strict=True)}


def test_a_stand_in_weighs_what_its_node_would_whoever_trained_it() -> None:
    with_it = folded(update(A, 1, 1.0), update(A, 2, 1.0, C), update(B, 1, 1.0))
    itself = folded(update(A, 1, 1.0), update(B, 1, 1.0), update(C, 1, 1.0))
    assert weights(with_it) == pytest.approx({(A,): 0.25, (B,): 0.25, (C,): 0.5})
    assert weights(with_it) == pytest.approx(weights(itself))


def test_it_weighs_no_more_than_its_node_shared_or_offered() -> None:
    few = folded(update(A, 1, 1.0), update(A, 2, 1.0, C), shared={C: 100})
    many = folded(update(A, 1, 1.0), update(A, 2, 1.0, C), shared={C: 1_000_000})
    assert weights(few) == pytest.approx({(A,): 0.5, (C,): 0.5})
    assert weights(many) == pytest.approx({(A,): 1 / 3, (C,): 2 / 3})


def test_several_for_one_node_share_its_weight() -> None:
    outcome = folded(update(A, 1, 1.0), update(A, 2, 1.0, C), update(B, 1, 1.0), update(B, 2, 1.0, C))
    assert [f.weight for f in outcome.folded] == pytest.approx([0.25] * 4)


def test_a_nodes_own_update_replaces_what_stands_in_for_it() -> None:
    outcome = folded(update(A, 1, 1.0), update(A, 2, 9.0, C), update(C, 1, 1.0))
    assert [(d.node, d.sequence, d.reason) for d in outcome.discarded] == [(A, 2, REPLACED)]
    assert weights(outcome) == pytest.approx({(A,): 1 / 3, (C,): 2 / 3})
    assert outcome.params["w"] == pytest.approx(1.0)


def test_of_an_update_for_two_the_part_of_who_is_there_itself_is_left_out() -> None:
    outcome = folded(update(A, 1, 1.0), update(A, 2, 1.0, C, D), update(C, 1, 1.0))
    assert weights(outcome) == pytest.approx({(A,): 1 / 7, (C,): 2 / 7, (D,): 4 / 7})


def test_a_stand_in_counts_after_all_where_the_own_update_is_of_no_use() -> None:
    outcome = folded(update(A, 1, 1.0), update(A, 2, 1.0, C), update(C, 1, 1.0), broken=C)
    assert weights(outcome) == pytest.approx({(A,): 1 / 3, (C,): 2 / 3})
    assert [d.node for d in outcome.discarded] == [C]


def test_only_what_a_plan_asks_for_stands_in() -> None:
    view = JobView(JOB, Job("t", b"f" * 32, RECIPE, StopRule(rounds=3), 1, 20.0, b"n", share="always"), A)
    plan = Plan(
        JOB, ROOT, 1, (Assignment(A, 5, "dense32"),), 1, 9.0, stand_ins=(Assignment(A, 5, "dense32", (C,)),)
    )
    assert not asked_for(view, update(A, 2, 1.0, C))
    view.plans[ROOT] = {A: KnownPlan(b"p" * 32, A, plan)}
    assert asked_for(view, update(A, 2, 1.0, C))
    assert asked_for(view, update(B, 1, 1.0))
    assert not asked_for(view, update(B, 2, 1.0, C))  # somebody else was asked for it
    assert not asked_for(view, update(A, 2, 1.0, D))


def commit(*stand_ins: StandIn, author_twice: bool = True) -> Commit:
    second = Folded(A, 1, 2, 5, 51, 0, 0.5) if author_twice else Folded(B, 1, 1, 5, 51, 0, 0.5)
    nodes = (Folded(A, 1, 1, 5, 40, 0, 0.5), second)
    return Commit(JOB, (ROOT,), 1, nodes, (), (), 1.0, b"p" * 32, 16, stand_ins=stand_ins)


def test_a_commit_that_counts_a_node_twice_is_invalid() -> None:
    def fault(record: Commit) -> str | None:
        assert validate(record) is None
        return changes_fault(record, (A, B, C), Counted())

    assert fault(commit(StandIn(1, (2,)))) is None
    # b's update is for nobody else than b
    assert fault(commit(StandIn(1, (1,)), author_twice=False)) is None
    assert "whose own is counted" in (fault(commit(StandIn(1, (0,)))) or "")


def test_a_merge_weighs_the_nodes_that_were_stood_in_for() -> None:
    graph = Graph()
    root = Commit(JOB, (), 0, (), (A, B, C), (), 0.0, b"p" * 32, 16)
    graph.add(ROOT, A, root)
    record = commit(StandIn(1, (1, 2)))
    graph.add(b"1" * 32, A, record)
    assert graph.only(b"1" * 32, ROOT) == {A: 40, B: 26, C: 25}
    assert dict(parts(10, (A, B, C))) == {A: 4, B: 3, C: 3}


@pytest.mark.parametrize(
    ("updates", "setting"),
    [
        ([update(A, 1, 1.0), update(B, 1, 1.0)], [0, 1]),
        ([update(A, 1, 1.0), update(B, 1, 1.0, C)], [0]),  # one of C's samples says nothing of links
        ([update(B, 1, 1.0, A), update(C, 1, 1.0)], [1]),
        ([update(A, 1, 1.0), update(B, 1, 1.0, A)], [1]),  # B helps A: of A itself nothing is counted
        ([update(A, 1, 1.0), update(B, 1, 1.0, A), update(C, 1, 1.0)], [2]),
        ([], []),
    ],
)
def test_what_is_discarded_does_not_set_the_momentum_of_a_round(
    updates: list[KnownUpdate], setting: list[int]
) -> None:
    found = for_momentum(updates, lambda node: node == B)
    assert found == [updates[i] for i in setting]
