"""What a round makes of its updates: whom it discards, how far it moves, what each weighs."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from lineage import Lineage
from numpy.typing import NDArray

from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.structure import Structure
from muster.compression.codecs.families import parse
from muster.compression.model import encode_update
from muster.compression.tensors import Layout, TensorSpec
from muster.history.counted import Key
from muster.job.models.folding import (
    POST_MERGE_STEP_SCALE,
    Outcome,
    RoundContext,
    fold,
    post_merge_step_scale,
    weight_of,
)
from muster.job.uncounted import KnownUpdate
from muster.protocol.ids import CommitId
from muster.protocol.parts import Assignment, Payload, Recipe
from muster.protocol.records import Plan, Update

JOB, ROOT = b"j" * 32, b"r" * 32
A, B, C = b"A" * 32, b"B" * 32, b"C" * 32
BASE = {"w": np.zeros(4, np.float32)}
LAYOUT = Layout((TensorSpec("w", (4,), "float32"),))
FORM = Form.of(LAYOUT, Structure(), b"")
RECIPE = Recipe(lr=0.1, batch=10, steps=5, seed=0)
SAMPLES = {A: 100, B: 100, C: 200}


def merged(rounds_a: int, rounds_b: int) -> tuple[Lineage, CommitId]:
    lineage = Lineage()
    ends = (lineage.line(lineage.root, n, author) for n, author in ((rounds_a, A), (rounds_b, B)))
    return lineage, lineage.merge(*(end[-1] for end in ends))


def folded_on(base: dict[str, NDArray[np.float32]], scale: float, **updates: float) -> Outcome:
    """One update of each node, all its weights the same."""
    known, payloads = [], {}
    for name, value in updates.items():
        node = name.encode() * 32
        message = encode_update(parse("dense32"), LAYOUT, {"w": np.full(4, value, np.float32)})
        record = Update(JOB, ROOT, 0, 1, 1, 5, 50, 0.1, Payload("dense32", len(message), message))
        known.append(KnownUpdate(hashlib.sha256(node).digest(), Key(node, 1, 1), record, node))
        payloads[known[-1].id] = message
    head = RoundContext(
        FORM, lambda: base, None, 0, RECIPE, SAMPLES.__getitem__, lambda commit: 1.0, lambda _: FORM, scale
    )
    return fold(head, known, lambda u: payloads[u.id])


@pytest.mark.parametrize(
    ("a", "b", "expected"), [(2, 2, POST_MERGE_STEP_SCALE), (5, 1, 1.0), (3, 2, POST_MERGE_STEP_SCALE)]
)
def test_the_first_round_on_branches_that_grew_apart_is_slower(a: int, b: int, expected: float) -> None:
    assert POST_MERGE_STEP_SCALE < 1.0
    lineage, merge = merged(a, b)
    after = lineage.commit(merge, author=C)
    graph = lineage.view.graph
    assert post_merge_step_scale(graph, graph.points[merge]) == expected
    assert post_merge_step_scale(graph, graph.points[after]) == 1.0


def test_a_slower_round_moves_less_and_says_so() -> None:
    outcome = folded_on(BASE, 0.7, A=1.0, B=3.0)
    assert outcome.params["w"] == pytest.approx(0.7 * 2.0)
    assert [f.weight for f in outcome.folded] == pytest.approx([0.35, 0.35])


def test_of_updates_that_are_finite_each_but_not_together_the_largest_is_discarded() -> None:
    base = {"w": np.full(4, 3e38, np.float32)}
    outcome = folded_on(base, 1.0, A=1.0, B=3.3e38, C=3.0)
    assert [(d.node, d.reason) for d in outcome.discarded] == [(B, "the update makes the model infinite")]
    assert [f.node for f in outcome.folded] == [A, C]
    assert outcome.params["w"] == pytest.approx(3e38)


def test_an_updates_weight_is_foreseen_from_the_plan() -> None:
    assignments = tuple(Assignment(n, 5, "dense32") for n in (A, B, C))
    plan = Plan(JOB, ROOT, 1, assignments, 3, 10.0, "", 0)
    foreseen = [weight_of(n, plan, SAMPLES.__getitem__, RECIPE) for n in (A, B, C)]
    outcome = folded_on(BASE, 1.0, A=1.0, B=1.0, C=1.0)
    assert foreseen == pytest.approx([f.weight for f in outcome.folded])
    assert foreseen == pytest.approx([0.25, 0.25, 0.5])
