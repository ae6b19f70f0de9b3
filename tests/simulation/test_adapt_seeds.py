"""Hours in which nodes need another model, some of them the same: who trains, who knows what."""

from __future__ import annotations

import contextlib

import planted
import pytest
from msgspec.structs import replace
from test_check import JOB, LINK, TASK

from muster.simulation.judging.check import check, judge, story
from muster.simulation.schedule import Schedule, draw
from muster.simulation.specs import MachineSpec, WireSpec, WorldSpec

SEED, LATER = 39, 672  # in the second one a need comes while the job runs
MET = 330  # all needs are met by something else while it runs


@pytest.mark.parametrize("seed", [SEED, LATER, MET])
def test_an_hour_with_needs_holds(seed: int) -> None:
    assert draw(seed).spec.jobs[0].adapts
    verdict = check(seed)
    assert verdict.good, story(verdict)
    assert any("not concerned" in text for _, _, text in verdict.story)


def test_a_job_that_nobody_needs_ends_everywhere() -> None:
    verdict = check(MET)
    said = {name for _, name, text in verdict.story if text == "the job is over: nobody needs it any more"}
    assert len(said) == verdict.nodes, story(verdict)


@pytest.mark.parametrize(
    ("bug", "seed", "said"),
    [
        ("joins_without_a_like_need", SEED, "trains all the same"),
        ("older_needs_stay", SEED, "keeps several of one node and task"),
        ("concerned_once", LATER, "holds 0 heads"),
        ("needless_jobs_go_on", MET, "nobody needs the job, and it goes on"),
        ("the_first_one_ends_it", MET, "ends the job, and others need it"),
    ],
)
def test_planted_bugs_are_caught(bug: str, seed: int, said: str) -> None:
    with planted.planted(bug):
        verdict = check(seed)
    assert any(said in sentence for sentence in verdict.broken)


@pytest.mark.parametrize("bug", ["", "trains_on_although_met"])
def test_who_trains_all_the_time_leaves_when_its_need_is_met(bug: str) -> None:
    """`a` asked and is gone at 31 s; `b` goes on alone and begins a round in the moment in which one ends, so
    that only its own look can stop it at 42 s. The 60 rounds would take it until 320 s."""
    nodes = tuple(MachineSpec(n, 100, 0.25, sketch=1.0, met_at_s=s) for n, s in (("a", 30.0), ("b", 40.0)))
    job = replace(JOB, rounds=60, min_nodes=1, adapts=True)
    spec = WorldSpec(1, nodes, (WireSpec("a", "b", LINK),), TASK, (job,))
    with planted.planted(bug) if bug else contextlib.nullcontext():
        verdict = judge(Schedule(1, "scene", spec, (), 400.0))
    assert verdict.broken == (["its need is met: b trains on"] if bug else []), story(verdict)
    left = [at_s for at_s, name, text in verdict.story if name == "b" and text.startswith("takes no part")]
    assert bug or 40.0 < left[0] < 50.0, story(verdict)
