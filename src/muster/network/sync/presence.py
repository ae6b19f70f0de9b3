"""Who was heard, when: each node's last word, passed on from neighbour to neighbour.

A beat is a register, not a message: the one with the larger (incarnation start, counter) replaces the
other, any of them may be lost, and nothing but hints hangs on it.  Hence it is small and not signed; links
are authenticated, so only members of the fleet can speak at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from muster.protocol.records import NodeId

STATES = ("idle", "preparing", "receiving", "training", "sending", "coordinating", "leaving", "blocked")
SILENCE_S = 5.0  # a word after so long is news
HEARTBEAT_USUAL_S = 2.0  # between two words while a job runs; on narrow links it is more
HEARTBEATS_MISSED_MAX = 3
GAP_MAX_S = 30.0  # between two words of a node that is there, on the slowest link
HEARTBEATS_MAX = 512  # nodes remembered; a fleet is a few hundred


class Heartbeat(msgspec.Struct, frozen=True, array_like=True):
    """One node's last word. About 30 bytes on the wire."""

    node: bytes  # first 8 bytes of the node id
    start: int  # grows with every start of the node's daemon
    count: int
    state: int  # index into STATES
    progress: int  # 0..100 of that state
    battery: int  # 0..100; 255 = unknown
    job: bytes  # first 4 bytes of the job it works for, or b""
    round: int

    @property
    def age_key(self) -> tuple[int, int]:
        return (self.start, self.count)


@dataclass
class Heard:
    heartbeat: Heartbeat
    at_s: float  # loop time of the last new word
    interval_s: float = 0.0  # between its words, as they come here: an exponential average

    def differs_from(self, newer: Heartbeat) -> bool:
        """Whether a newer heartbeat says something else than being alive and how far the work is."""
        old = self.heartbeat
        before = (old.state, old.job, old.round, old.start)
        return before != (newer.state, newer.job, newer.round, newer.start)


@dataclass
class Presence:
    """The table of last words of one node. `now` is the loop's clock."""

    node: NodeId
    start: int
    now: Callable[[], float]
    usual_s: Callable[[], float] = lambda: (
        HEARTBEAT_USUAL_S
    )  # between two words of a node heard for the first time
    table: dict[bytes, Heard] = field(default_factory=dict)
    watchers: list[Callable[[Heartbeat], None]] = field(default_factory=list)
    changes: list[Callable[[], None]] = field(default_factory=list)  # somebody is back or does other work
    blocked: bool = False  # this node's disk takes nothing: it says so instead of what it does
    _mine: Heartbeat | None = None

    def set_status(
        self, state: str, progress: float, battery: float | None, job: bytes, round_: int
    ) -> Heartbeat:
        """Set this node's own word; its counter grows only when `tick` makes it news."""
        count = self._mine.count if self._mine else 0
        said = STATES.index("blocked" if self.blocked else state)
        self._mine = Heartbeat(
            self.node[:8], self.start, count, said, int(100 * min(1.0, max(0.0, progress))),
            255 if battery is None else int(100 * battery), job[:4], round_,
        )  # fmt: skip
        return self._mine

    def job(self) -> bytes:
        """The beginning of the id of the job that this node says it works for."""
        return self._mine.job if self._mine else b""

    def next(self) -> Heartbeat:
        """This node's word as of now, with a new counter."""
        mine = self._mine or self.set_status("idle", 0.0, None, b"", 0)
        self._mine = msgspec.structs.replace(mine, count=mine.count + 1)
        return self._mine

    def merge(self, heartbeats: Iterable[Heartbeat]) -> list[Heartbeat]:
        """Take in what a neighbour knows; the beats that were news."""
        news = []
        changed = False
        for heartbeat in heartbeats:
            if not 0 <= heartbeat.state < len(STATES):
                continue
            if heartbeat.node == self.node[:8]:
                self.supersede_old_incarnation(heartbeat)
                continue
            known = self.table.get(heartbeat.node)
            if known is not None and known.heartbeat.age_key >= heartbeat.age_key:
                continue
            if known is None and len(self.table) >= HEARTBEATS_MAX:
                continue
            now_s = self.now()
            self.table[heartbeat.node] = Heard(heartbeat, now_s, _interval_s(known, now_s))
            if known is None or known.differs_from(heartbeat) or now_s - known.at_s > SILENCE_S:
                changed = True
            news.append(heartbeat)
            for watcher in self.watchers:
                watcher(heartbeat)
        if changed:
            for change in self.changes:
                change()
        return news

    def outdated(self, heartbeats: Iterable[Heartbeat]) -> list[Heartbeat]:
        """What is known of nodes of which these words tell an older life: whoever said them, perhaps the
        node itself after it lost its disk, is to be told, or nobody listens to it any more."""
        known = ((self.table.get(heartbeat.node), heartbeat) for heartbeat in heartbeats)
        return [heard.heartbeat for heard, old in known if heard and heard.heartbeat.start > old.start]

    def supersede_old_incarnation(self, heartbeat: Heartbeat) -> None:
        """A word of one's own life before the disk was lost: begin above it, or nobody listens."""
        if heartbeat.start >= self.start and (self._mine is None or heartbeat.age_key > self._mine.age_key):
            self.start = heartbeat.start + 1
            if self._mine is not None:
                self._mine = msgspec.structs.replace(self._mine, start=self.start)

    def age_s(self, node: NodeId) -> float | None:
        """Seconds since the last new word of a node; 0 for this one, None if never heard."""
        if node[:8] == self.node[:8]:
            return 0.0
        heard = self.table.get(node[:8])
        return None if heard is None else self.now() - heard.at_s

    def lively(self, node: NodeId) -> bool:
        """Whether a node is heard as often as it used to be: sooner to say no than any patience."""
        if node[:8] == self.node[:8]:
            return True
        heard = self.table.get(node[:8])
        if heard is None:
            return False
        late_s = self.now() - heard.at_s - HEARTBEAT_USUAL_S
        if late_s <= HEARTBEATS_MISSED_MAX * max(HEARTBEAT_USUAL_S, heard.interval_s):
            return True
        return late_s <= HEARTBEATS_MISSED_MAX * self.usual_s()

    def doing(self, node: NodeId) -> str:
        """What a node said it does, last."""
        heard = self.table.get(node[:8])
        return STATES[heard.heartbeat.state] if heard else "unknown"

    def heartbeats(self) -> list[Heartbeat]:
        mine = [self._mine] if self._mine else []
        return mine + [h.heartbeat for h in self.table.values()]


def _interval_s(known: Heard | None, now_s: float) -> float:
    if known is None:
        return 0.0
    gap_s = min(now_s - known.at_s, GAP_MAX_S)  # a longer one was an absence and says nothing of its words
    return gap_s if known.interval_s == 0.0 else (known.interval_s + gap_s) / 2
