"""Small pure functions from what was measured to what a row of the page says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GOOD_MS = 200.0  # a delay that halves the quality


def quality(there: Mapping[str, Any], back: Mapping[str, Any]) -> float:
    """(1 - loss)^4 * 200 / (200 + delay_ms) of the worse direction; 0 when one is down.

    >>> quality({"up": True, "loss": 0.0, "delay_ms": 50.0}, {"up": True, "loss": 0.05, "delay_ms": 50.0})
    0.65
    """
    if not (there["up"] and back["up"]):
        return 0.0
    loss, delay_ms = max(there["loss"], back["loss"]), max(there["delay_ms"], back["delay_ms"])
    return round(float((1 - loss) ** 4 * GOOD_MS / (GOOD_MS + delay_ms)), 2)


def brief(value: float) -> float:
    """Three digits are enough, and a rate that hardly changed is no news.

    >>> brief(9213.7), brief(0.0)
    (9210.0, 0.0)
    """
    return float(f"{value:.3g}")
