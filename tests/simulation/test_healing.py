"""Two groups of four with one narrow link between them, as in the scenario field-8: what a cut leaves behind."""

from __future__ import annotations

import pytest

from muster.simulation import faults as f
from muster.simulation.check import Verdict, judge, story
from muster.simulation.network import PathParams, Timing
from muster.simulation.schedule import Event, Schedule
from muster.simulation.world import JobSpec, LinkSpec, NodeSpec, Spec, WorldFault

SOUTH, NORTH = ("alpha", "bravo", "charlie", "delta"), ("echo", "foxtrot", "golf", "hotel")
INSIDE = PathParams(rate_bytes_s=125_000.0, delay_s=0.05, nudge_loss=0.01)
BRIDGE = PathParams(rate_bytes_s=16_000.0, delay_s=0.3, ask_loss=0.01, nudge_loss=0.02)
CUT_S, HEAL_S = 40.0, 100.0


def field(seed: int, *events: tuple[float, WorldFault], rounds: int, step_s: float = 0.15) -> Verdict:
    """`alpha` asks at 5 s; the encoded updates and deltas have 2.5 kB, the model 11 kB."""
    slow = {"bravo", "hotel"}
    nodes = tuple(NodeSpec(n, 140, step_s * (4 if n in slow else 1)) for n in SOUTH + NORTH)
    links = [LinkSpec(a, b, INSIDE) for group in (SOUTH, NORTH) for i, a in enumerate(group) for b in group[:i]]
    links.append(LinkSpec("delta", "echo", BRIDGE))
    job = JobSpec("alpha", 5.0, rounds, None, 20, 0.1, 6.0, 2, 2700, "quant8", True)
    spec = Spec(seed, nodes, tuple(links), job, Timing())
    schedule = tuple(Event(at_s, fault) for at_s, fault in sorted(events, key=lambda e: e[0]))
    return judge(Schedule(seed, "field", spec, schedule, 160.0))


STORY: tuple[tuple[float, WorldFault], ...] = (
    (CUT_S, f.Cut("delta", "echo")),
    (CUT_S, f.Kill("alpha")),
    (CUT_S + 25.0, f.Restart("alpha", 0.0)),
    (HEAL_S, f.Heal("delta", "echo")),
)


@pytest.mark.parametrize("seed", [1, 2])
def test_branches_are_merged_within_seconds_of_contact(seed: int) -> None:
    """It took up to 39 s: what the far side's updates had been was fetched although its head counts them,
    and those questions, which nobody could answer, stood in the way of the head."""
    verdict = field(seed, *STORY, rounds=24)
    assert verdict.good, story(verdict)
    merged = [at_s - HEAL_S for at_s, who, text in verdict.story if who == "alpha" and "merged as" in text]
    assert merged
    assert merged[0] < 9.0
    assert verdict.merges <= 3
    after = [at_s - HEAL_S for at_s, _, text in verdict.story if "committed as" in text]
    assert any(merged[-1] < at_s < merged[-1] + 20.0 for at_s in after)  # and training goes on
