"""What a coordinator's lossy commits left out is not lost when another one goes on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from muster.job.models.residuals import Vector
from muster.simulation import faults as f
from muster.simulation.judging.check import Verdict, judge, story
from muster.simulation.schedule import Schedule, TimedFault
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.virtual.pipe import PathParams

APART = f.Partition((("a", "b"), ("c", "d")))
BROUGHT = "brings in what its commits left out"


def two_coordinators() -> Verdict:
    """Both sides of a partition coordinate; after it the worse-ranked one yields."""
    link = PathParams(rate_bytes_s=1e6, delay_s=0.01)
    pairs = ("ab", "cd", "ac", "bd")
    spec = WorldSpec(
        3, tuple(MachineSpec(n, 100, 0.25) for n in "abcd"), tuple(WireSpec(a, b, link) for a, b in pairs),
        TaskSpec(weights=300), (JobSpec("a", 5.0, 14, None, 20, 0.05, 10.0, 2, "topk:0.2", "topk:0.05"),),
    )  # fmt: skip
    events = (TimedFault(25.0, APART), TimedFault(70.0, f.Heal()))
    return judge(Schedule(3, "hand over", spec, events, 300.0))


def test_a_coordinator_that_yields_brings_in_what_its_commits_left_out() -> None:
    verdict = two_coordinators()
    assert verdict.good, story(verdict)
    assert verdict.merges
    assert sum(BROUGHT in text for _, _, text in verdict.story) == 1


def twice(uplink: object, downlink: Vector, share: float) -> Vector:
    return downlink * np.float32(2.0 / share)


@pytest.mark.parametrize(
    ("where", "bug", "rule"),
    [
        ("participant.update_writer.hand_over", lambda uplink, downlink, share: uplink, "residual"),
        ("participant.update_writer.hand_over", twice, "residual"),
        ("participant.update_writer.weight_of", lambda *given: 1.0, "residual"),
        ("coordinator.commit_writer.residuals.left_out", lambda *given: None, "arithmetic"),
    ],
)
def test_the_rules_notice_what_is_lost_or_put_in_twice(
    where: str, bug: Callable[..., object], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"muster.job.{where}", bug)
    verdict = two_coordinators()
    assert any(text.startswith(f"{rule}:") for text in verdict.broken), story(verdict)
