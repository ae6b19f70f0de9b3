"""Whom a round waits for, and for how long: by what is known, and never for a node that is not there."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from muster.job.coordinator.offer_window import OFFER_GRACE_S
from muster.simulation import faults as f
from muster.simulation.judging.check import Verdict, judge, story
from muster.simulation.schedule import Schedule, TimedFault
from muster.simulation.specs import Bury, JobSpec, MachineSpec, TaskSpec, WireSpec, WorldFault, WorldSpec
from muster.simulation.trainers.base import EvaluationResult, SimTrainer
from muster.simulation.virtual.pipe import PathParams

LINK = PathParams(rate_bytes_s=1e6, delay_s=0.05)
STEPS, STEP_S = 20, 0.05  # rounds of about a second and a half
ASKED_S = 30.0


def field(
    names: str, *events: tuple[float, WorldFault], rounds: int = 20, target: float | None = None
) -> Verdict:
    """A mesh in which `a` asks at ASKED_S, when all have been heard of."""
    links = tuple(WireSpec(x, y, LINK) for x, y in itertools.combinations(names, 2))
    job = JobSpec("a", ASKED_S, rounds, None, STEPS, 0.05, 10.0, 2, "dense32", "dense32", target=target)
    nodes = tuple(MachineSpec(n, 100, STEP_S) for n in names)
    schedule = tuple(TimedFault(at_s, fault) for at_s, fault in events)
    return judge(
        Schedule(1, "waiting", WorldSpec(1, nodes, links, TaskSpec(weights=300), (job,)), schedule, 300.0)
    )


def plans(verdict: Verdict) -> list[tuple[float, str]]:
    return [(at_s, text) for at_s, who, text in verdict.story if who == "a" and text.startswith("round ")
            and "nodes," in text]  # fmt: skip


def commits(verdict: Verdict) -> list[float]:
    return [at_s for at_s, _, text in verdict.story if "committed as" in text]


def test_the_first_round_begins_without_the_few_that_do_not_answer() -> None:
    verdict = field("abcd", (ASKED_S - 1.0, f.Leave("d")), (ASKED_S + 60.0, f.Return("d")))
    assert verdict.good, story(verdict)
    first_s, text = plans(verdict)[0]
    assert first_s - ASKED_S < OFFER_GRACE_S / 2
    assert "3 nodes" in text


def test_of_two_nodes_the_other_one_is_waited_for() -> None:
    verdict = field("ab", (ASKED_S - 1.0, f.Leave("b")), (ASKED_S + 12.0, f.Return("b")))
    assert verdict.good, story(verdict)
    first_s, text = plans(verdict)[0]
    assert first_s - ASKED_S > 12.0
    assert "2 nodes" in text


def test_a_node_that_goes_costs_its_round_a_second_or_two() -> None:
    """It took half as long as the round, and three seconds more; and that for each round until the node was
    missed.  It may die right after a word, so that it is in one plan more.  (The last round, which has no
    next one, waits for it as long as it would be heard by its habit.)"""
    verdict = field("abcd", (ASKED_S + 20.0, Bury("d")))
    assert verdict.good, story(verdict)
    gaps = [after - before for before, after in itertools.pairwise(commits(verdict))]
    usual_s = sorted(gaps)[len(gaps) // 2]
    assert max(gaps) < usual_s + 2.5
    assert 1 <= sum(gap > usual_s + 0.5 for gap in gaps[:-1]) <= 2


@pytest.mark.parametrize("takes_s", [0.1, 15.0])
def test_a_target_ends_the_job_however_long_figures_take(
    takes_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While figures are on their way that may end the job no round replaces the head that they are of."""
    evaluate = SimTrainer.evaluate

    async def slow(self: SimTrainer, params: bytes, which: str, limit: int | None = None) -> EvaluationResult:
        await asyncio.sleep(takes_s)
        return await evaluate(self, params, which, limit)

    monkeypatch.setattr(SimTrainer, "evaluate", slow)
    verdict = field("abc", rounds=40, target=0.3)
    assert verdict.good, story(verdict)
    assert verdict.rounds < 40
