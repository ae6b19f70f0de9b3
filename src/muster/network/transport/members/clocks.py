"""Says when the clock of this machine, or of a neighbour, is wrong: links and jobs do not mind, people do."""

from __future__ import annotations

import time

WRONG_S = 86_400.0  # less is a matter of time zones, or of a slow link
RELEASED_S = 1_767_225_600.0  # 1 January 2026: before this version was made
DAY_S = 86_400.0


def clock_fault(own_s: float, other_s: float, name: str) -> str | None:
    """One sentence if two clocks on the wall differ by more than a day, with what to do.

    >>> clock_fault(300.0, 1_796_000_000.0, "bravo").split(":")[0]
    'the clock of this machine says 1970-01-01'
    >>> clock_fault(1_796_000_000.0, 1_796_000_060.0, "bravo") is None
    True
    """
    if abs(own_s - other_s) <= WRONG_S:
        return None
    cure = "training goes on, but dates in logs, hours of use and a day's limits are wrong"
    if own_s < RELEASED_S:
        return f"the clock of this machine says {_date(own_s)}: set it ('timedatectl'); {cure}"
    if other_s < RELEASED_S:
        return f"the clock of {name} says {_date(other_s)}: set it there ('timedatectl'); {cure}"
    days = abs(own_s - other_s) / DAY_S
    ahead = "behind" if own_s < other_s else "ahead of"
    return (
        f"the clock of this machine is {days:,.0f} days {ahead} that of {name} ({_date(own_s)}, "
        f"{_date(other_s)}): set the wrong one ('timedatectl'); {cure}"
    )


def _date(wall_s: float) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(wall_s))
    except (OverflowError, ValueError, OSError):
        return "no date"
