"""Members that are revoked while a job goes on: none of them coordinates, or is a way for others' work."""

from __future__ import annotations

import contextlib
import itertools

import planted
import pytest
from test_check import scene

from muster.simulation import faults as f
from muster.simulation.judging.check import story
from muster.simulation.specs import Revoke

NARROW_KBIT_S = 1.6  # an update takes half a minute


def test_nothing_is_taken_along_for_who_hears_the_coordinator_after_the_revoked_one() -> None:
    """`b` coordinates in the place of `a`, which asked, and `d` hears of it: `b` fetches what `c` made."""
    narrow = f.Slow("b", "c", rate_kbit_s=NARROW_KBIT_S)
    verdict = scene("ab bc cd", (20.0, Revoke("a", "b")), (25.0, narrow), heal_s=300.0, rounds=20)
    assert verdict.good, story(verdict)


@pytest.mark.parametrize(("revoked", "by"), [("a", "b"), ("b", "a")])
def test_a_revocation_costs_the_round_that_goes_on_and_no_more(revoked: str, by: str) -> None:
    """The job's records are read again, with what still counts, in a process that heard all the time who
    coordinates: it does not wait a patience like one that was started again."""
    verdict = scene("ab bc ac", (42.0, Revoke(revoked, by)), heal_s=300.0, rounds=20, patience_s=30.0)
    assert verdict.good, story(verdict)
    commits = [at_s for at_s, _, text in verdict.story if "committed as" in text]
    assert max(after - before for before, after in itertools.pairwise(commits)) < 20.0


@pytest.mark.parametrize("bug", ["", "nobody_carries"])
def test_what_others_have_is_taken_along_though_the_asker_was_revoked(bug: str) -> None:
    """`b`, the next to coordinate, is away and a round needs three: `d` takes along what `c` made."""
    with planted.planted(bug) if bug else contextlib.nullcontext():
        events = (20.0, Revoke("a", "b")), (25.0, f.Restart("b", 100.0))
        verdict = scene("ab bc cd", *events, heal_s=400.0, min_nodes=3, rounds=12)
    assert any(text.startswith("not taken along") for text in verdict.broken) == bool(bug), story(verdict)
    assert verdict.good != bool(bug), story(verdict)


def test_a_revoked_node_is_no_way_for_what_others_made() -> None:
    """What `d` made is on its way to `a` when that link is cut: nobody takes it by way of `c`."""
    events = (
        (20.0, Revoke("c", "a")),
        (25.0, f.Slow("a", "d", rate_kbit_s=NARROW_KBIT_S)),
        (31.0, f.Cut("a", "d")),
        (200.0, f.Heal("a", "d")),
    )
    verdict = scene("ab bc cd ad", *events, heal_s=400.0, rounds=20, patience_s=100.0)
    assert verdict.good, story(verdict)
