"""Hours in which some nodes are of the next version, and others are updated while a job runs."""

from __future__ import annotations

import planted
import pytest

from muster.simulation.judging.check import check, story
from muster.simulation.schedule import draw

SEED = 300  # the fewest nodes; one is updated


def test_an_hour_with_two_versions_holds() -> None:
    assert {1, 2, None} == {node.later_from for node in draw(SEED).spec.nodes}
    verdict = check(SEED)
    assert verdict.good, story(verdict)


@pytest.mark.parametrize(
    ("bug", "said"),
    [
        ("unknown_kinds_refused", "lacks a greeting"),
        ("needs_passed_over", "keeps a measurement of n1 as measurement"),
        ("nothing_said_of_later_records", "does not say that it cannot act on"),
        ("kept_as_unknown", "as unknown"),
    ],
)
def test_planted_bugs_are_caught(bug: str, said: str) -> None:
    with planted.planted(bug):
        verdict = check(SEED)
    assert any(said in sentence for sentence in verdict.broken), story(verdict)
