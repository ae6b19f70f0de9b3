"""The newest heartbeat of another node, when it came, and how it came and went before."""

from __future__ import annotations

from dataclasses import dataclass, replace

from muster.network.sync.heartbeat import COORDINATING, RARE, Heartbeat
from muster.network.sync.spells import NONE, Spells

GAP_MAX_S = 30.0  # between two of a node that is there, on the slowest link of a small fleet


@dataclass
class Heard:
    """The newest heartbeat of another node, and when it came."""

    heartbeat: Heartbeat
    at_s: float  # loop time
    interval_s: float = 0.0  # between its heartbeats, as they come here: an exponential average
    since_s: float = 0.0  # loop time since which it is here
    spells: Spells = NONE  # those that are over
    direct: bool = False  # it came from the node itself

    def differs_from(self, newer: Heartbeat) -> bool:
        """Whether a newer heartbeat says something else than being alive and how far the work is."""
        old = self.heartbeat
        before = (old.state, old.job, old.round, old.start)
        return before != (newer.state, newer.job, newer.round, newer.start)

    def differs_rarely(self, newer: Heartbeat) -> bool:
        """Whether a newer heartbeat says what others are to hear of at once."""
        old = self.heartbeat
        rare = newer.state != old.state and (newer.state in RARE or old.state in RARE)
        return rare or (old.start, old.job) != (newer.start, newer.job)

    def staleness_s(self, relay_s: float) -> float:
        """How old it may be beyond its own interval, as others passed it on; who coordinates goes first."""
        return 0.0 if self.direct or self.heartbeat.state == COORDINATING else relay_s

    def spells_at(self, now_s: float) -> Spells:
        """With the one that goes on."""
        here_for_s, silent_s = max(0.0, self.at_s - self.since_s), max(0.0, now_s - self.at_s)
        return replace(self.spells, here_for_s=here_for_s, silent_s=silent_s)

    def interval_until_s(self, now_s: float, relay_s: float) -> float:
        """The average of the pauses between its heartbeats, with the one that ends now."""
        gap_s = min(now_s - self.at_s, max(GAP_MAX_S, 2 * relay_s))  # a longer one was an absence
        return gap_s if self.interval_s == 0.0 else (self.interval_s + gap_s) / 2
