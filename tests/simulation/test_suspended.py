"""A node that is suspended for minutes or hours: the others go on, and it is back in the job."""

from __future__ import annotations

import re

import pytest
from test_check import scene

from muster.simulation.judging.check import story
from muster.simulation.specs import Stall

MINUTES_S, NIGHT_S = 600.0, 8 * 3600.0
ROUND_S, STEP_S = 600.0, 0.25  # of rounds that make a night short


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_node_that_is_suspended_for_ten_minutes_is_back_in_its_job(name: str) -> None:
    """`a` asked for the job and coordinates it; the job is longer than the suspension."""
    verdict = scene("ab bc ac", (30.0, Stall(name, MINUTES_S)), heal_s=MINUTES_S + 600.0, rounds=160)
    assert verdict.good, story(verdict)
    assert verdict.rounds == 160


@pytest.mark.slow
def test_a_coordinator_that_sleeps_over_night_is_back_in_its_job() -> None:
    steps, rounds = round(ROUND_S / STEP_S), round(NIGHT_S / ROUND_S) + 8
    stall = (2.5 * ROUND_S, Stall("a", NIGHT_S))
    verdict = scene("ab bc ac", stall, heal_s=NIGHT_S + 4 * ROUND_S, rounds=rounds, steps=steps)
    assert verdict.good, story(verdict)
    assert verdict.rounds == rounds


def test_a_node_that_sleeps_over_the_end_of_its_job_learns_of_it() -> None:
    verdict = scene("ab bc ac", (30.0, Stall("b", NIGHT_S)), heal_s=NIGHT_S + 60.0, rounds=12)
    assert verdict.good, story(verdict)


def test_all_nodes_of_a_job_sleep_over_night() -> None:
    stalls = tuple((30.0 + number, Stall(name, NIGHT_S)) for number, name in enumerate("abc"))
    verdict = scene("ab bc ac", *stalls, heal_s=NIGHT_S + 600.0, rounds=20)
    assert verdict.good, story(verdict)
    assert verdict.rounds == 20
    expected = [re.search(r"([\d.]+) s expected", text) for _, _, text in verdict.story]
    assert max(float(found[1]) for found in expected if found) < 60.0, "the night is no part of a round"
