"""Rounding at random is unbiased; that the errors of several nodes cancel, they must not be the same."""

from __future__ import annotations

import numpy as np
import pytest

from muster.protocol.records import Update
from muster.simulation.judging.check import play
from muster.simulation.schedule import Schedule
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.trainers.base import Vector
from muster.simulation.trainers.linear import LinearTrainer
from muster.simulation.virtual.pipe import PathParams


def test_nodes_that_train_the_same_round_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(self: LinearTrainer, before: Vector, *how: object) -> tuple[Vector, float]:
        return before + np.linspace(-1, 1, before.size, dtype=np.float32), 1.0

    monkeypatch.setattr(LinearTrainer, "learn", learn)
    link = PathParams(rate_bytes_s=1e6, delay_s=0.01)
    nodes = tuple(MachineSpec(n, 100, 0.25) for n in "abc")
    links = tuple(WireSpec(a, b, link) for a, b in ("ab", "bc", "ac"))
    job = JobSpec("a", 5.0, 2, None, 20, 0.05, 10.0, 2, "quant4", "quant4")
    run = play(Schedule(1, "scene", WorldSpec(1, nodes, links, TaskSpec("linear", 300), (job,)), (), 300.0))
    assert not run.found
    assert run.world is not None
    sent = [r.payload.inline for _, r in run.world.archive.records.values() if isinstance(r, Update)]
    assert len(sent) == 6
    assert len(set(sent)) == 6
