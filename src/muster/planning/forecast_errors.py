"""By how much rounds took longer, or less long, than their coordinator expected: pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

MOST = 0.9  # of the rounds; the others have their reasons, such as a node that went away


@dataclass(frozen=True)
class ForecastErrors:
    """`usual`: the median of what rounds took over what was expected; `within`: the relative error that
    MOST of them do not surpass."""

    rounds: int
    usual: float
    within: float


def forecast_errors(rounds: Iterable[tuple[float | None, float | None]]) -> ForecastErrors | None:
    """Of pairs (expected, was), in whatever unit; pairs that lack one do not count. None: there are none."""
    known = [was / expected for expected, was in rounds if expected and was is not None]
    if not known:
        return None
    off = sorted(abs(ratio - 1.0) for ratio in known)
    return ForecastErrors(len(known), median(known), off[math.ceil(MOST * len(off)) - 1])


def sentence(found: ForecastErrors) -> str:
    """The same for people."""
    if found.rounds == 1:
        return f"the round took {found.usual:.2f} times the expected time"
    return (
        f"rounds took {found.usual:.2f} times the expected time in the median, nine of ten within "
        f"{100 * found.within:.0f} %"
    )
