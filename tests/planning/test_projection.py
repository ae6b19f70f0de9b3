"""A job before it begins: the policy repeated on what each round is expected to show."""

from __future__ import annotations

import pytest
from test_policy import A, B, work

from muster.planning import state
from muster.planning.costs import Left
from muster.planning.policy import Candidate
from muster.planning.projection import ROUNDS_MAX, ROUNDS_OPEN, project
from muster.protocol.parts import Power, StopRule

POWER = Power(1.0, 5.0)


def candidates(**more: object) -> list[Candidate]:
    return [
        Candidate(A, 0.1, power=POWER, local=True, **more),  # type: ignore[arg-type]
        Candidate(B, 0.05, 1e5, power=POWER, **more),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(
    "left",
    [
        Left(rounds=12),
        Left(seconds=60.0),
        Left(bytes=30_000),
        Left(joules=500.0),
        Left(rounds=200, seconds=30.0),
    ],
)
def test_rounds_until_a_budget_is_used_up(left: Left) -> None:
    stop = StopRule(left.rounds, None, left.seconds, left.bytes, joules=left.joules)
    found = project(work(stop=stop), state.init(), candidates(), left, 1)
    assert found.ends
    for used, most in ((found.seconds, left.seconds), (found.bytes, left.bytes), (found.joules, left.joules)):
        assert most is None or used <= most
    if left == Left(rounds=12):
        assert (len(found.rounds), found.ends) == (12, "rounds")
    else:
        shares = [
            found.seconds / (left.seconds or 1e9),
            found.bytes / (left.bytes or 1e9),
            found.joules / (left.joules or 1e9),
        ]
        assert max(shares) > 0.9


def test_what_each_node_may_spend_ends_it_too() -> None:
    found = project(work(), state.init(), candidates(left=Left(bytes=9000)), Left(), 1)
    assert "spent what they may" in found.ends
    assert 2 * 9000 >= found.bytes > 0.8 * 2 * 9000


def test_without_a_budget_the_first_rounds_are_shown_and_no_end() -> None:
    found = project(work(), state.init(), candidates(), Left(), 1)
    assert (len(found.rounds), found.ends) == (ROUNDS_OPEN, "")


def test_a_budget_that_lasts_long_is_not_followed_to_its_end() -> None:
    found = project(work(stop=StopRule(seconds=1e6)), state.init(), candidates(), Left(seconds=1e6), 1)
    assert (len(found.rounds), found.ends) == (ROUNDS_MAX, "")


def test_nothing_fits() -> None:
    found = project(work(), state.init(), candidates(), Left(bytes=20), 1)
    assert found.rounds == ()
    assert "20 bytes are left" in found.ends
