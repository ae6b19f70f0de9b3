"""Hours in which nodes need another model, some of them the same: who trains, who knows what."""

from __future__ import annotations

import planted
import pytest

from muster.simulation.judging.check import check, story
from muster.simulation.schedule import draw

SEED, LATER = 39, 672  # in the second one a need comes while the job runs
MET = 399  # all needs are met by something else while it runs
ALONE = 421  # so is that of a node which trains all the time


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
        ("trains_on_although_met", ALONE, "its need is met: n1 trains on"),
    ],
)
def test_planted_bugs_are_caught(bug: str, seed: int, said: str) -> None:
    with planted.planted(bug):
        verdict = check(seed)
    assert any(said in sentence for sentence in verdict.broken)
