"""Counts what a node gave to others in one day of its own: a pure rule for when the next day begins.

A day is the owner's: it begins at midnight by the node's local time, as data plans and people count.  The
clock of a small device is not to be trusted, so what it says is held against the seconds that were measured:

* A clock that is set to tomorrow gives no second budget: a count in which the clock was set goes on for 24
  measured hours.  One that did not begin at midnight goes on for 12 at least.
* A clock that is set to yesterday, or stands still, locks no node for good: after 26 measured hours a count
  is over whatever the clock says (the longest day has 25).

For how long the process did not run the clock alone can say.  It is believed if it did not go back, and also
where it is put right in the machine's first minutes: a device without a clock of its own asks the network.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec.structs import replace

DAY_S = 24 * 3600.0
HALF_DAY_S = DAY_S / 2
LONGEST_DAY_S = 26 * 3600.0
JUMP_S = 60.0  # a clock that is off by more, from one look to the next, was set


class Moment(NamedTuple):
    """What the clock on the wall says."""

    day: int  # of the owner's calendar
    second: float  # of that day
    wall_s: float  # since 1970
    booting: bool  # the machine was started just now


class DayUse(msgspec.Struct, frozen=True, array_like=True):
    """What others used since the count began."""

    day: int  # of the calendar, when the count began
    seen_s: float  # the clock on the wall at the last look
    bytes: int = 0
    joules: float = 0.0
    ran_s: float = 0.0  # measured since the count began
    ripe_s: float = 0.0  # that have to be measured before another day ends it


def looked(use: DayUse, clock: Moment, measured_s: float) -> DayUse:
    """The count at a look, `measured_s` after the one before."""
    off_s, ripe_s = clock.wall_s - use.seen_s - measured_s, use.ripe_s
    if abs(off_s) > JUMP_S:
        if not clock.booting:
            ripe_s = DAY_S
        elif off_s > 0:
            measured_s += off_s
        else:
            return replace(use, seen_s=use.seen_s + measured_s, ran_s=use.ran_s + measured_s)
    ran_s = use.ran_s + measured_s
    if (clock.day != use.day and ran_s >= ripe_s) or ran_s >= LONGEST_DAY_S:
        at_midnight = clock.second <= measured_s + JUMP_S
        return DayUse(clock.day, clock.wall_s, ripe_s=0.0 if at_midnight else HALF_DAY_S)
    return replace(use, seen_s=clock.wall_s, ran_s=ran_s, ripe_s=ripe_s)


def resumed(use: DayUse, clock: Moment) -> DayUse:
    """The count at the start of a process, by what an earlier one kept."""
    return looked(use, clock, max(0.0, clock.wall_s - use.seen_s))


def ends_in_s(use: DayUse, clock: Moment) -> float:
    """Seconds until the next count begins, if nobody sets the clock."""
    ripe_in_s = max(0.0, use.ripe_s - use.ran_s)
    if clock.day + (clock.second + ripe_in_s) // DAY_S == use.day:
        ripe_in_s = (use.day + 1 - clock.day) * DAY_S - clock.second
    return max(0.0, min(ripe_in_s, LONGEST_DAY_S - use.ran_s))
