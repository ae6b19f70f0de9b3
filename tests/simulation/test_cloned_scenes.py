"""A second process with a node's key: the node stops within seconds, and the job goes on without it."""

from __future__ import annotations

import pytest
from test_check import scene

from muster.simulation import faults as f
from muster.simulation.judging.check import Verdict, story
from muster.simulation.specs import Clone

STOPS = "acts no more, as another process has its key"


def stopped_s(verdict: Verdict) -> float:
    return next(at_s for at_s, _, text in verdict.story if text == STOPS)


@pytest.mark.parametrize("who", ["a", "b", "c"])
def test_a_cloned_node_stops_and_the_job_goes_on(who: str) -> None:
    """The asker, one between others, one at the end; the clone is heard of at the far end of the line."""
    at = "d" if who != "c" else "a"
    verdict = scene("ab bc cd bd", (45.0, Clone(who, at)), heal_s=300.0, rounds=20)
    assert verdict.good, story(verdict)
    assert 45.0 < stopped_s(verdict) < 75.0


def test_a_node_that_is_cut_off_hears_of_its_clone_when_it_is_back() -> None:
    """The clone was there for some seconds only: what is heard of it does not grow, and the node goes on."""
    events = (44.0, f.Leave("c")), (45.0, Clone("c", "a")), (100.0, f.Return("c"))
    verdict = scene("ab bc ac", *events, heal_s=400.0, rounds=20)
    assert verdict.good, story(verdict)
    assert STOPS not in [text for _, _, text in verdict.story]
