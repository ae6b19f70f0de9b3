"""Fall, gate and return: what the counts say."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.adaptation import exact, returning
from muster.adaptation.fall import fall, reference_accuracy
from muster.adaptation.gate import judge, score
from muster.adaptation.returning import e_value, log_e_value, should_return


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.0, 0.05, 0.5, 0.9, 1.0]))
def test_tails_are_exact(k: int, n: int, p: float) -> None:
    q = Fraction(p)
    whole = sum(math.comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(min(k, n) + 1))
    assert exact.at_most(k, n, p) == pytest.approx(float(whole), abs=1e-12)
    more = 1 - whole + (math.comb(n, k) * q**k * (1 - q) ** (n - k) if k <= n else 0)
    assert exact.at_least(k, n, p) == pytest.approx(float(more), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "wrong", "reference", "fell"),
    [
        (0, 0, 0.99, False),
        (19, 19, 0.99, False),  # too few
        (20, 14, 0.99, True),  # rot60
        (20, 5, 0.99, True),
        (20, 4, 0.99, False),
        (20, 0, 0.99, False),
        (100, 7, 0.99, False),  # 5 points are no fall
        (1000, 150, 0.99, True),
        (20, 8, 0.6, False),  # it was never better
        (20, 20, 0.0, False),
        (20, 5, 1.0, True),
        (20, 5, math.nan, True),
        (20, 5, 7.0, True),
        (20, 20, -1.0, False),
    ],
)
def test_falls(labels: int, wrong: int, reference: float, fell: bool) -> None:
    found = fall(labels, wrong, reference)
    assert found.fell is fell
    assert 0.0 <= found.p <= 1.0


def test_false_falls_are_rare_though_each_label_is_looked_at() -> None:
    rng, fell = np.random.default_rng(0), 0
    for _ in range(400):
        wrong = np.cumsum(rng.random(200) > 0.97)
        fell += any(fall(n, int(wrong[n - 1]), 0.97).fell for n in range(20, 201))
    assert fell <= 4


def test_the_accuracy_before() -> None:
    assert reference_accuracy(0, 0, None) == 1.0
    assert reference_accuracy(0, 0, 0.98) == 0.98
    assert reference_accuracy(50, 5, 1.0) == pytest.approx(0.95)
    assert reference_accuracy(200, 20, 0.5) == 0.9  # enough of its own
    assert reference_accuracy(9, 9, math.nan) == 0.1
    for labels, wrong in ((1, 2), (1, -1)):
        with pytest.raises(ValueError, match="cannot be wrong"):
            reference_accuracy(labels, wrong, None)
        with pytest.raises(ValueError, match="cannot be wrong"):
            fall(labels, wrong, 0.9)


@pytest.mark.parametrize(
    ("labels", "wins", "losses", "rule", "accepted"),
    [
        (0, 0, 0, "better", False),
        (19, 19, 0, "better", False),
        (20, 5, 0, "better", True),  # 1/32
        (20, 4, 0, "better", False),
        (20, 0, 0, "better", False),
        (20, 8, 1, "better", True),
        (20, 7, 1, "better", True),  # 9/256
        (20, 7, 2, "better", False),
        (1000, 550, 450, "better", True),
        (1000, 450, 550, "better", False),
        (299, 0, 0, "not_worse", False),
        (300, 0, 0, "not_worse", True),
        (300, 0, 2, "not_worse", False),
        (300, 3, 3, "not_worse", True),
        (300, 60, 60, "not_worse", False),  # too uncertain
        (20, 5, 0, "not_worse", True),  # better is better at any number of labels
        (3000, 30, 50, "not_worse", True),
        (3000, 30, 100, "not_worse", False),
    ],
)
def test_the_gate(labels: int, wins: int, losses: int, rule: str, accepted: bool) -> None:
    found = judge(labels, wins, losses, rule)
    assert found.accepted is accepted
    assert 0.0 <= found.p <= 1.0


def test_the_gate_says_why() -> None:
    assert judge(12, 5, 0).why == "there are 12 held-out labels and 20 are needed"
    assert judge(40, 9, 1).why == "it is better: 9 won and 1 lost of 40 held-out labels"
    assert judge(40, 1, 9).why == "it is worse: 1 won and 9 lost of 40 held-out labels"
    assert judge(40, 3, 2).why.startswith("it is not surely better")
    assert judge(40, 3, 9, "merged").accepted
    assert judge(40, 1, 10, "merged").why == "it is worse: 1 won and 10 lost of 40 held-out labels"


@pytest.mark.parametrize(("labels", "wins", "losses"), [(5, 3, 3), (5, -1, 2), (5, 1, -1)])
def test_counts_that_cannot_be_are_refused(labels: int, wins: int, losses: int) -> None:
    with pytest.raises(ValueError, match="cannot be of"):
        judge(labels, wins, losses)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="use one of better, not_worse"):
        judge(20, 5, 0, "equal")


@pytest.mark.parametrize("discordant", [0, 1, 5, 6, 17, 40, 200])
def test_equal_models_pass_at_most_one_time_in_20(discordant: int) -> None:
    accepted = sum(
        math.comb(discordant, w) for w in range(discordant + 1) if judge(400, w, discordant - w).accepted
    )
    assert accepted <= 0.05 * 2**discordant


@pytest.mark.parametrize("labels", [300, 307, 384, 500])
@pytest.mark.parametrize("losing", [0.0201, 0.025, 0.05, 0.2])
def test_a_loss_of_two_points_passes_not_worse_at_most_one_time_in_20(labels: int, losing: float) -> None:
    rng = np.random.default_rng(labels)
    shares = (losing - 0.02, losing, 1 - 2 * losing + 0.02)
    drawn = rng.multinomial(labels, shares, 20_000)
    counts, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    passed = sum(
        n
        for (won, lost), n in zip(counts.tolist(), times, strict=True)
        if score(labels, won, lost, -0.02) > 1.7
    )
    assert passed / 20_000 <= 0.055  # exactly 0.0496 at most; the rest is chance


def by_numbers(former: int, current: int) -> float:
    p = 0.5 + (np.arange(100_000) + 0.5) / 200_000
    return float(np.mean((2 * p) ** former * (2 * (1 - p)) ** current))


@pytest.mark.parametrize(("former", "current"), [(0, 0), (1, 0), (0, 1), (9, 0), (12, 3), (3, 12), (40, 30)])
def test_the_closed_form_is_the_mixture(former: int, current: int) -> None:
    assert e_value(former, current) == pytest.approx(by_numbers(former, current), rel=1e-4)


@given(st.integers(0, 300), st.integers(0, 300))
def test_its_mean_after_one_more_label_is_what_it_was(former: int, current: int) -> None:
    """Of equal models: a martingale."""
    both = (e_value(former + 1, current) + e_value(former, current + 1)) / 2
    assert both == pytest.approx(e_value(former, current), rel=1e-9)


def test_large_counts_agree_with_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    small = [log_e_value(f, 900 - f) for f in (0, 300, 450, 600, 900)]
    monkeypatch.setattr(returning, "EXACT_MAX", 10)
    assert [log_e_value(f, 900 - f) for f in (0, 300, 450, 600, 900)] == pytest.approx(small, abs=1e-6)
    assert e_value(100_000, 0) > 1e300
    assert log_e_value(0, 100_000) < 0


def test_when_the_former_model_returns() -> None:
    assert not should_return(0, 0)
    assert not should_return(8, 0)
    assert should_return(10, 0)
    assert should_return(20, 4)
    assert not should_return(20, 12)
    assert not should_return(0, 500)
    with pytest.raises(ValueError, match="not negative"):
        log_e_value(-1, 3)


def test_equal_models_return_at_most_one_time_in_100() -> None:
    rng, returned = np.random.default_rng(3), 0
    for _ in range(300):
        former = np.cumsum(rng.random(150) < 0.5)
        returned += any(should_return(int(f), n - int(f)) for n, f in enumerate(former, 1))
    assert returned <= 9
