"""Expects when a node is heard again and how long it stays, from its spells so far: pure functions.

What comes and goes has a rhythm: a carrier between two places, a duty cycle, a road with tunnels.  A node
that was never away has none; when it falls silent nobody can say when it comes back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Protocol

LATE_SHARE = 0.5  # a spell may be so much longer than those known, while they are too few to say by how much,
RHYTHM_MIN = 3  # spells from which on they do,
LATE_S = 2.0  # and by this at least
DEVIATIONS = 4.0  # as TCP waits for an answer (RFC 6298)
MOST = 0.8  # of the spells: one long outage among many short ones is no rhythm
LINGER_PATIENCES = 5.0  # the last round waits at most so many times `patience` if its asker says nothing
CONTACT_SHARE_MIN = 0.25  # of the wanted steps: fewer are not worth a message, if the rest comes later


class Spells(Protocol):
    """How a node came and went, as it was heard here (`network.sync.spells.Spells`)."""

    @property
    def here_s(self) -> tuple[float, ...]: ...  # how long it stayed before it went, the newest last
    @property
    def away_s(self) -> tuple[float, ...]: ...  # how long it was away before it came back
    @property
    def here_for_s(self) -> float: ...  # from its first to its last sign of life since it came
    @property
    def silent_s(self) -> float: ...  # since that last one
    @property
    def off(self) -> bool: ...  # it was off when it was away last, and works for nobody then


@dataclass(frozen=True)
class Span:
    """Seconds from now: at the soonest, as a rule, at the latest."""

    early_s: float
    likely_s: float
    late_s: float


def heard_again(spells: Spells) -> Span | None:
    """When a silent node is heard again; None: it was never away, or is away longer than it mostly was."""
    if not spells.away_s:
        return None
    silent_s, latest_s = spells.silent_s, _latest_s(spells.away_s)
    if silent_s > latest_s:
        return None
    left_s = [away_s - silent_s for away_s in spells.away_s if away_s > silent_s] or [0.0]
    late_s = latest_s - silent_s
    return Span(min(*left_s, late_s), min(median(left_s), late_s), late_s)


def stays(spells: Spells) -> Span | None:
    """How long a node that is here stays; None: nobody can say, it never left or stays longer than before."""
    left_s = sorted(here_s - spells.here_for_s for here_s in spells.here_s if here_s > spells.here_for_s)
    if not left_s:
        return None
    early_s = left_s[len(left_s) - math.ceil(MOST * len(left_s))]
    return Span(early_s, median(left_s), left_s[-1])


def share_here(spells: Spells) -> float:
    """The part of the time in which a node is here, 0..1: 1 for one that was never away."""
    if not spells.away_s:
        return 1.0
    here_s = sum(spells.here_s) + spells.here_for_s
    away_now_s = spells.silent_s if spells.silent_s > min(spells.away_s) else 0.0  # else it may be here
    all_s = here_s + sum(spells.away_s) + away_now_s
    return here_s / all_s if all_s > 0 else 1.0


def contact_steps(spells: Spells, overhead_s: float, step_s: float, wanted: int) -> int:
    """The local steps to ask of a node that comes and goes: as many of `wanted` as fit the contact that it is
    in, with `overhead_s` for the model to come there and the update to come back; 1 at least.

    All that are wanted if too few would fit and it works on while it is away: its update comes with the next
    contact, however many steps it has.
    """
    here = stays(spells)
    if here is None:
        return max(1, wanted)
    room_s = max(0.0, here.early_s - overhead_s)
    fit = wanted if room_s >= wanted * step_s else int(room_s / step_s)
    if fit < CONTACT_SHARE_MIN * wanted and not spells.off:
        return max(1, wanted)
    return max(1, min(wanted, fit))


def linger_s(asked_s: float | None, patience_s: float) -> float:
    """How long a job's last round waits at most for updates that are owed, beyond what any round waits."""
    return LINGER_PATIENCES * patience_s if asked_s is None else asked_s


def _latest_s(known_s: Sequence[float]) -> float:
    """The length that a spell should not surpass: of most of those known, and by how far they differ more."""
    most_s = sorted(known_s)[math.ceil(MOST * len(known_s)) - 1]
    spread_s = LATE_SHARE * most_s
    if len(known_s) >= RHYTHM_MIN:
        usual_s = median(known_s)
        spread_s = min(spread_s, DEVIATIONS * fmean(abs(s - usual_s) for s in known_s))
    return most_s + max(LATE_S, spread_s)
