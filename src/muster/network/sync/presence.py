"""Who is alive and does what: each node's last heartbeat, relayed from neighbour to neighbour.

A heartbeat is a register, not a message: the one with the larger (start, count) replaces the other, any of
them may be lost, and nothing but hints depends on it.  Hence it is small and not signed; links are
authenticated, so that only members of the fleet can send one at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice

import msgspec

from muster.network.sync.attention import Attention
from muster.network.sync.spells import NONE, Spells
from muster.protocol.ids import NodeId

STATES = (
    "idle",
    "preparing",
    "receiving",
    "training",
    "sending",
    "coordinating",
    "leaving",
    "blocked",
    "cloned",
)
WORKING = ("preparing", "receiving", "training", "sending")
SILENCE_S = 5.0  # a heartbeat after so long is news to the jobs
HEARTBEAT_USUAL_S = 2.0  # between two while a job runs; on narrow links it is more
HEARTBEAT_IDLE_S = 50.0  # while none runs: below the watchdog's period, so that its pings are not needed
HEARTBEATS_MISSED_MAX = 3
CLONED_AFTER = 3  # heartbeats of this node by somebody else: a lost disk explains one or two
GAP_MAX_S = 30.0  # between two of a node that is there, on the slowest link
NUMBER_END = 1 << 53  # of the numbers in a heartbeat
HEARTBEATS_MAX = 512  # nodes remembered; a fleet is a few hundred


class Heartbeat(msgspec.Struct, frozen=True, array_like=True):
    """What a node says of itself; 10 to 18 bytes on the wire (`messages.pack_heartbeats`)."""

    node: bytes  # first 8 bytes of the node id
    start: int  # grows with every start of the node's daemon
    count: int  # grows with every heartbeat of that start
    state: int  # index into STATES
    progress: int  # 0..100 of that state
    battery: int  # 0..100; 255 = unknown
    job: bytes  # first 4 bytes of the job it works for, or b""
    round: int

    @property
    def age_key(self) -> tuple[int, int]:
        """The larger, the newer."""
        return (self.start, self.count)


@dataclass
class Heard:
    """The newest heartbeat of another node, and when it came."""

    heartbeat: Heartbeat
    at_s: float  # loop time
    interval_s: float = 0.0  # between its heartbeats, as they come here: an exponential average
    since_s: float = 0.0  # loop time since which it is here
    spells: Spells = NONE  # those that are over

    def differs_from(self, newer: Heartbeat) -> bool:
        """Whether a newer heartbeat says something else than being alive and how far the work is."""
        old = self.heartbeat
        before = (old.state, old.job, old.round, old.start)
        return before != (newer.state, newer.job, newer.round, newer.start)

    def spells_at(self, now_s: float) -> Spells:
        """With the one that goes on."""
        here_for_s, silent_s = max(0.0, self.at_s - self.since_s), max(0.0, now_s - self.at_s)
        return replace(self.spells, here_for_s=here_for_s, silent_s=silent_s)


@dataclass
class Presence:
    """One node's table of the newest heartbeats, its own included. `now` is the loop's clock."""

    node: NodeId
    start: int
    now: Callable[[], float]
    # called when this node goes on above heartbeats from before it lost its disk: the next start must, too
    keep_start: Callable[[int], None] = lambda start: None
    # between two heartbeats of a node, where its own interval says less
    usual_s: Callable[[], float] = lambda: HEARTBEAT_USUAL_S
    # by node: the spells that an earlier process of this node kept, until the node is heard
    kept_spells: dict[bytes, Spells] = field(default_factory=dict)
    table: dict[bytes, Heard] = field(default_factory=dict)
    heartbeat_listeners: list[Callable[[Heartbeat], None]] = field(default_factory=list)
    # called when a node is back or does other work
    change_listeners: list[Callable[[], None]] = field(default_factory=list)
    blocked: bool = False  # this node's disk is full: its heartbeat says so instead of what it does
    attention: Attention = field(init=False)
    _mine: Heartbeat | None = None
    _superseded: int = 0  # heartbeats in this node's name that another process must have sent

    def __post_init__(self) -> None:
        self.attention = Attention(self.now)

    def tick(self) -> None:
        """Call every `attention.TICK_S`: so a stall of this process is noticed, and is no age of others."""
        self.settling_s()
        self.attention.tick()

    def settling_s(self) -> float:
        """Seconds for which others should not be judged yet, after a stall of this process."""
        lost_s = self.attention.lost_s()
        if lost_s:
            for heard in self.table.values():
                heard.at_s += lost_s
        return self.attention.settling_s()

    @property
    def cloned(self) -> bool:
        """Whether another process uses this node's identity at the same time."""
        return self._superseded >= CLONED_AFTER

    def set_status(
        self, state: str, progress: float, battery: float | None, job: bytes, round_: int
    ) -> Heartbeat:
        """Set what this node's next heartbeat says; `progress` and `battery` are 0..1."""
        count = self._mine.count if self._mine else 0
        said = STATES.index("cloned" if self.cloned else "blocked" if self.blocked else state)
        self._mine = Heartbeat(
            self.node[:8], self.start, count, said, int(100 * min(1.0, max(0.0, progress))),
            255 if battery is None else int(100 * battery), job[:4], round_,
        )  # fmt: skip
        return self._mine

    def job(self) -> bytes:
        """The beginning of the id of the job that this node says it works for."""
        return self._mine.job if self._mine else b""

    def next(self) -> Heartbeat:
        """This node's heartbeat as of now, with a new count: it replaces the one before."""
        mine = self._mine or self.set_status("idle", 0.0, None, b"", 0)
        self._mine = msgspec.structs.replace(mine, count=mine.count + 1)
        return self._mine

    def merge(self, heartbeats: Iterable[Heartbeat]) -> list[Heartbeat]:
        """Take in what a neighbour knows. Returns the heartbeats that were news."""
        news = []
        changed = False
        for heartbeat in heartbeats:
            if not _readable(heartbeat):
                continue
            if heartbeat.node == self.node[:8]:
                self.supersede_old_incarnation(heartbeat)
                continue
            known = self.table.get(heartbeat.node)
            if known is not None and known.heartbeat.age_key >= heartbeat.age_key:
                continue
            if known is None and len(self.table) >= HEARTBEATS_MAX:
                del self.table[min(self.table, key=lambda node: self.table[node].at_s)]
            now_s = self.now()
            self.table[heartbeat.node] = self._heard(known, heartbeat, now_s)
            if known is None or known.differs_from(heartbeat) or now_s - known.at_s > SILENCE_S:
                changed = True
            news.append(heartbeat)
            for listener in self.heartbeat_listeners:
                listener(heartbeat)
        if changed:
            for notify in self.change_listeners:
                notify()
        return news

    def _heard(self, known: Heard | None, newer: Heartbeat, now_s: float) -> Heard:
        if known is None:
            return Heard(newer, now_s, 0.0, now_s, self.kept_spells.pop(newer.node, NONE))
        interval_s, away_s = _interval_s(known, now_s), now_s - known.at_s
        if not self._was_away(known, away_s):
            return Heard(newer, now_s, interval_s, known.since_s, known.spells)
        off = newer.start != known.heartbeat.start
        spells = known.spells_at(known.at_s).came_back(away_s, off=off)
        return Heard(newer, now_s, interval_s, now_s, spells)

    def _was_away(self, known: Heard, silent_s: float) -> bool:
        """Whether a silence was longer than heartbeats that are lost explain."""
        if silent_s <= HEARTBEATS_MISSED_MAX * HEARTBEAT_USUAL_S:
            return False
        usual_s = self.usual_s() if known.heartbeat.job else HEARTBEAT_IDLE_S  # costly to know
        return silent_s > HEARTBEATS_MISSED_MAX * usual_s

    def outdated(self, heartbeats: Iterable[Heartbeat]) -> list[Heartbeat]:
        """The newer heartbeats of nodes of which these are of an older incarnation.

        Whoever sent these is to know: perhaps the node itself, which lost its disk and counts from the
        beginning, so that nobody takes its heartbeats any more."""
        known = ((self.table.get(heartbeat.node), heartbeat) for heartbeat in heartbeats)
        return [heard.heartbeat for heard, old in known if heard and heard.heartbeat.start > old.start]

    def supersede_old_incarnation(self, heartbeat: Heartbeat) -> None:
        """Begin above a heartbeat of this node from before it lost its disk: others take only newer ones."""
        if heartbeat.start >= self.start and (self._mine is None or heartbeat.age_key > self._mine.age_key):
            self._superseded += 1
            self.start = min(NUMBER_END - 1, heartbeat.start + 1)
            self.keep_start(self.start)
            if self._mine is not None:
                self._mine = msgspec.structs.replace(self._mine, start=self.start)

    def age_s(self, node: NodeId) -> float | None:
        """Seconds since the last new heartbeat of a node; 0 for this one, None if never heard."""
        if node[:8] == self.node[:8]:
            return 0.0
        self.settling_s()
        heard = self.table.get(node[:8])
        return None if heard is None else self.now() - heard.at_s

    def lively(self, node: NodeId) -> bool:
        """Whether a node is heard as often as it used to be; it says no sooner than a job's patience."""
        return self.now() <= self.lively_until_s(node)

    def lively_until_s(self, node: NodeId) -> float:
        """Until which loop time a node is lively if it is not heard again; minus infinity: never heard."""
        if node[:8] == self.node[:8]:
            return math.inf
        self.settling_s()
        heard = self.table.get(node[:8])
        if heard is None:
            return -math.inf
        period_s = max(HEARTBEAT_USUAL_S, heard.interval_s)
        if self.now() > heard.at_s + HEARTBEAT_USUAL_S + HEARTBEATS_MISSED_MAX * period_s:
            period_s = self.usual_s()  # costly to know
        return heard.at_s + HEARTBEAT_USUAL_S + HEARTBEATS_MISSED_MAX * period_s

    def doing(self, node: NodeId) -> str:
        """The state in a node's last heartbeat."""
        heard = self.table.get(node[:8])
        return STATES[heard.heartbeat.state] if heard else "unknown"

    def works_for(self, node: NodeId, job: bytes) -> bool:
        """Whether a node says, and is heard to say, that it makes or sends an update of this job."""
        heard = self.table.get(node[:8])
        heartbeat = self._mine if node[:8] == self.node[:8] else heard.heartbeat if heard else None
        if heartbeat is None or heartbeat.job != job[:4] or not self.lively(node):
            return False
        return STATES[heartbeat.state] in WORKING

    def spells(self, node: NodeId) -> Spells:
        """How a node came and went, as it was heard here."""
        self.settling_s()
        heard = self.table.get(node[:8])
        if heard is None:
            return self.kept_spells.get(node[:8], NONE)
        return heard.spells_at(self.now())

    def known_spells(self) -> dict[bytes, Spells]:
        """Those of all nodes that are over, at most HEARTBEATS_MAX nodes' (8 bytes each)."""
        found = {node: heard.spells for node, heard in self.table.items()} | self.kept_spells
        return dict(islice(found.items(), HEARTBEATS_MAX))

    def heartbeats(self) -> list[Heartbeat]:
        """All that are known, this node's own first."""
        mine = [self._mine] if self._mine else []
        return mine + [h.heartbeat for h in self.table.values()]


def _readable(heartbeat: Heartbeat) -> bool:
    """Whether a heartbeat is within its limits: this node's own goes on above its numbers."""
    numbers = (heartbeat.start, heartbeat.count, heartbeat.round)
    return 0 <= heartbeat.state < len(STATES) and all(0 <= n < NUMBER_END for n in numbers)


def _interval_s(known: Heard | None, now_s: float) -> float:
    if known is None:
        return 0.0
    gap_s = min(now_s - known.at_s, GAP_MAX_S)  # a longer one was an absence
    return gap_s if known.interval_s == 0.0 else (known.interval_s + gap_s) / 2
