"""Which of its lives a node speaks for: the number of its start, and whether another process has its key.

A node that lost its disk counts from the beginning; others, who take only newer heartbeats, tell it of its
former life, and it goes on above that.  Of two processes that live, the one that was there first stops.
A state machine: no clock, no link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from muster.network.sync.heartbeat import START_MAX, Heartbeat

CLONED_AFTER = 3  # newer and newer heartbeats of this node by somebody else: a former life's do not grow
ESTABLISHED_S = 20.0  # after the first contact: by then a node knows what others know of its former life ...
FORMER_S = 75.0  # ... and what it hears later, and does not grow for so long, is of that: more than a pause
# between two heartbeats, also on a narrow link
RIVAL_S = 300.0  # after so long what is heard is counted from one again


@dataclass(frozen=True)
class _Rival:
    """The newest heartbeat in this node's name that it did not send, since when, and how many newer ones
    there were."""

    age_key: tuple[int, int]
    since_s: float
    heard: int


@dataclass
class Incarnation:
    """Times are loop times. `keep_start(start)` has the next process begin above a start."""

    start: int
    keep_start: Callable[[int], None] = lambda start: None
    cloned: bool = False  # another process uses this node's key and started later: this one acts no more
    insist: int = 0  # times to say again that this one goes on above another, which may be a twin that lives
    _contact_s: float | None = None  # when the first neighbour was heard
    _rival: _Rival | None = None

    def on_contact(self, now_s: float) -> None:
        """A neighbour is heard."""
        if self._contact_s is None:
            self._contact_s = now_s

    def on_own(self, heartbeat: Heartbeat, mine: Heartbeat | None, now_s: float) -> bool:
        """Others know a heartbeat in this node's name; its own last one is `mine`. Returns whether this node
        goes on above it from now on, or acts no more, since another process lives that was there later."""
        if self.cloned or heartbeat.start < self.start or heartbeat.start >= START_MAX:
            return False
        if mine is not None and heartbeat.age_key <= mine.age_key:
            return False
        if self._is_former(heartbeat, now_s):
            self._supersede(heartbeat.start)
            return True
        self.cloned = self._rival is not None and self._rival.heard >= CLONED_AFTER
        return self.cloned

    def on_twin(self, heartbeat: Heartbeat, mine: Heartbeat) -> bool:
        """A neighbour has sessions of two processes with this node's key, and this is the newest heartbeat of
        either. Returns whether this node goes on above it, or acts no more."""
        if self.cloned or heartbeat.start >= START_MAX:
            return False
        if heartbeat.start > self.start:
            self.cloned = True
            return True
        if heartbeat.start != self.start or heartbeat.count <= mine.count:
            return False
        self._supersede(self.start)  # both counted on from the same number, and this one's count is less
        return True

    def say_again(self) -> None:
        """Go on above what was said last: a twin that hears of newer and newer incarnations stops."""
        self.insist -= 1
        self._go_on_above(self.start)

    def _supersede(self, start: int) -> None:
        self._go_on_above(start)
        self.insist, self._rival = CLONED_AFTER, None

    def _go_on_above(self, start: int) -> None:
        self.start = min(START_MAX, start + 1)
        self.keep_start(self.start)

    def _is_former(self, heartbeat: Heartbeat, now_s: float) -> bool:
        """Whether a newer heartbeat of this node is of its former life, as far as is known now."""
        rival = self._rival
        if self._contact_s is None or now_s - self._contact_s < ESTABLISHED_S:
            return True
        if rival is None or heartbeat.age_key > rival.age_key:
            before = 0 if rival is None or now_s - rival.since_s > RIVAL_S else rival.heard
            self._rival = _Rival(heartbeat.age_key, now_s, before + 1)
            return False
        return now_s - rival.since_s >= FORMER_S
