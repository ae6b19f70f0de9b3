"""Both sides of a partition prune; they meet, and nothing of either side is lost or bent."""

from __future__ import annotations

import planted
import pytest

from muster.protocol.parts import Prune
from muster.simulation import faults as f
from muster.simulation.judging.check import Verdict, judge, story
from muster.simulation.schedule import Schedule, TimedFault
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.virtual.pipe import PathParams

APART = f.Partition((("a", "b"), ("c", "d")))


def scene(first: int = 5, last: int = 5, down_codec: str = "topk:0.05") -> Verdict:
    """Four nodes, of which `d` is slow: its updates are late across the pruning."""
    link = PathParams(rate_bytes_s=1e6, delay_s=0.01)
    pairs = ("ab", "cd", "ac", "bd")
    nodes = tuple(MachineSpec(n, 100, 0.9 if n == "d" else 0.25) for n in "abcd")
    job = JobSpec(
        "a", 5.0, 16, None, 20, 0.05, 10.0, 2, "topk:0.2", down_codec, server_momentum=0.5,
        prune=Prune(0.5, first, last),
    )  # fmt: skip
    spec = WorldSpec(
        3, nodes, tuple(WireSpec(a, b, link) for a, b in pairs), TaskSpec(weights=300, per_channel=4), (job,)
    )
    events = (TimedFault(25.0, APART), TimedFault(140.0, f.Heal()))
    return judge(Schedule(3, "pruned apart", spec, events, 400.0))


@pytest.mark.parametrize(("first", "last"), [(5, 5), (4, 8)])
def test_branches_that_were_pruned_apart_become_one_small_model(first: int, last: int) -> None:
    verdict = scene(first, last)
    assert verdict.good, story(verdict)
    assert verdict.merges
    pruned = [name for _, name, text in verdict.story if "the model is pruned" in text]
    assert len(set(pruned)) >= 2, story(verdict)  # on both sides


@pytest.mark.parametrize(
    ("bug", "rule"),
    [
        ("residual_not_by_index", "residual"),
        ("residual_pruned_away", "residual"),
        ("update_not_by_index", "arithmetic"),
        ("shape_of_the_first", "arithmetic"),
        ("first_channels", "pruning"),
    ],
)
def test_the_rules_notice_what_is_not_sliced(bug: str, rule: str) -> None:
    with planted.planted(bug):
        verdict = scene(down_codec="dense32")
    assert any(text.startswith(f"{rule}:") for text in verdict.broken), story(verdict)
