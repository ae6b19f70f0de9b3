"""A node whose training diverges: its numbers are finite still, and together with others' they are not."""

from __future__ import annotations

import numpy as np
import pytest

from muster.simulation.judging.check import Run, play
from muster.simulation.schedule import Schedule
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.trainers.base import Vector
from muster.simulation.trainers.linear import LinearTrainer
from muster.simulation.virtual.pipe import PathParams

LINK = PathParams(rate_bytes_s=1e6, delay_s=0.01)
ROUNDS = 8
DIVERGES = 101  # samples, by which its trainer knows it
HUGE = np.float32(3.3e38)  # where it arrives each time; with the momentum of rounds the model goes beyond


def run(codec: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    def learn(self: LinearTrainer, before: Vector, *how: object) -> tuple[Vector, float]:
        if self.facts.samples == DIVERGES:
            return np.full_like(before, HUGE), 1.0
        return before + np.float32(0.01), 1.0

    monkeypatch.setattr(LinearTrainer, "learn", learn)
    nodes = tuple(MachineSpec(n, DIVERGES if n == "d" else 100, 0.25) for n in "abcd")
    links = tuple(WireSpec(a, b, LINK) for a, b in ("ab", "bc", "ac", "ad", "bd", "cd"))
    job = JobSpec("a", 5.0, ROUNDS, None, 20, 0.05, 10.0, 2, codec, codec, server_momentum=0.9)
    spec = WorldSpec(1, nodes, links, TaskSpec("linear", 300), (job,))
    return play(Schedule(1, "diverged", spec, (), 300.0))


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("dense32", "is discarded: the update makes the model infinite"),
        (
            "stc:0.05",
            "takes no part in round 2: the vector holds NaN or infinite values: training has diverged",
        ),
    ],
)
def test_a_job_goes_on_without_the_node_that_diverged(
    codec: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(codec, monkeypatch)
    assert done.world is not None
    assert done.rounds == ROUNDS
    texts = [text for _, _, text in done.world.archive.story]
    assert any(said in text for text in texts)
    assert not any("internal fault" in text for text in texts)
