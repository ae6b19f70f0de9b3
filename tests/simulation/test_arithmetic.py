"""What the judge works out again of an update's arithmetic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from muster.protocol.parts import Assignment
from muster.protocol.records import Plan
from muster.simulation.judging.residue import _weights

A, B, C = (bytes([number]) * 32 for number in range(3))


def test_a_node_may_know_of_the_first_offers_only() -> None:
    """a has heard of b's samples and not yet of c's, which it takes to be its own (seed 30513)."""
    samples = {A: 100, B: 200, C: 700}
    plan = Plan(bytes(32), b"base", 1, tuple(Assignment(n, 10, "dense32") for n in (A, B, C)), 3, 60.0)
    machines = {
        node: SimpleNamespace(node=node, spec=SimpleNamespace(samples=samples[node])) for node in samples
    }
    world = SimpleNamespace(machines=machines, archive=SimpleNamespace(records={b"plan": (B, plan)}))
    update = SimpleNamespace(base=b"base")
    found = list(_weights(cast(Any, world), A, cast(Any, update), [B, C]))
    assert found == pytest.approx([100 / 300, 100 / 400, 100 / 1000])
