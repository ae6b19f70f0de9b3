"""Expects when a node is heard again, from the pauses after which it came back so far: pure functions.

What comes and goes has a rhythm: a carrier between two places, a duty cycle, a road with tunnels.  A node
that was never away has none; when it falls silent nobody can say when it comes back.
"""

from __future__ import annotations

from collections.abc import Sequence

LATE_SHARE = 0.5  # a pause may be so much longer than the longest one known,
LATE_S = 2.0  # and by this at least
LINGER_PATIENCES = 5.0  # the last round waits at most so many times `patience` if its asker says nothing


def back_by_s(heard_s: float, pauses_s: Sequence[float]) -> float | None:
    """When a node last heard at `heard_s` should be heard again at the latest; None: nothing is known."""
    if not pauses_s:
        return None
    longest_s = max(pauses_s)
    return heard_s + longest_s + max(LATE_S, LATE_SHARE * longest_s)


def linger_s(asked_s: float | None, patience_s: float) -> float:
    """How long a job's last round waits at most for updates that are owed, beyond what any round waits."""
    return LINGER_PATIENCES * patience_s if asked_s is None else asked_s
