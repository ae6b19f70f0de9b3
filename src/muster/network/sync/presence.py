"""Who is alive and does what: each node's last heartbeat, relayed from neighbour to neighbour.

In a fleet of more than `relays.SMALL_FLEET` nodes others are relayed within a budget (`relays`), so that what
is known of a node that is no neighbour can be as old as `relay_s`: patience with it is longer by that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import InitVar, dataclass, field
from itertools import islice

import msgspec

from muster.network.sync.attention import Attention
from muster.network.sync.heard import Heard
from muster.network.sync.heartbeat import (
    SHORT_NAME_BYTES,
    STATES,
    WORKING,
    BriefHeartbeat,
    Heartbeat,
)
from muster.network.sync.incarnation import Incarnation
from muster.network.sync.spells import NONE, Spells
from muster.protocol.ids import NodeId

SILENCE_S = 5.0  # a heartbeat after so long is news to the jobs
HEARTBEAT_USUAL_S = 2.0  # between two while a job runs; on narrow links it is more
HEARTBEAT_IDLE_S = 50.0  # while none runs: below the watchdog's period, so that its pings are not needed
HEARTBEATS_MISSED_MAX = 3
HEARTBEATS_MAX = 2048  # nodes remembered; who was heard longest ago is forgotten
UNKNOWN_MAX = 64  # of them such whose membership is not known here (yet): they are passed on to nobody


@dataclass
class Presence:
    """One node's table of the newest heartbeats, its own included. `now` is the loop's clock."""

    node: NodeId
    start: InitVar[int]
    now: Callable[[], float]
    # called when this node goes on above heartbeats from before it lost its disk: the next start must, too
    keep_start: InitVar[Callable[[int], None]] = lambda start: None
    # between two heartbeats of a node, where its own interval says less
    usual_s: Callable[[], float] = lambda: HEARTBEAT_USUAL_S
    # by node: the spells that an earlier process of this node kept, until the node is heard
    kept_spells: dict[bytes, Spells] = field(default_factory=dict)
    table: dict[bytes, Heard] = field(default_factory=dict)
    members: set[bytes] | None = None  # by the first 8 bytes of their ids; None: everybody is one
    unknown: dict[bytes, None] = field(default_factory=dict)  # of the table, no members; oldest first
    # by which age what is known of a node that is no neighbour is usual, as it is relayed within a budget
    relay_s: float = 0.0
    # called with what others are to hear of at once: who came, went, is back, or works for another job
    rare_listeners: list[Callable[[Heartbeat], None]] = field(default_factory=list)
    # called when a node is back or does other work
    change_listeners: list[Callable[[], None]] = field(default_factory=list)
    forbidden: set[bytes] = field(default_factory=set)  # revoked nodes (8 bytes each), which are not heard
    blocked: bool = False  # this node's disk is full: its heartbeat says so instead of what it does
    attention: Attention = field(init=False)
    _mine: Heartbeat | None = None
    _by_short_name: dict[bytes, bytes] = field(default_factory=dict)  # b"": of two nodes
    incarnation: Incarnation = field(init=False)

    def __post_init__(self, start: int, keep_start: Callable[[int], None]) -> None:
        self.attention = Attention(self.now)
        self.incarnation = Incarnation(start, keep_start)

    @property
    def cloned(self) -> bool:
        """Whether another process uses this node's key and started later: this one acts no more."""
        return self.incarnation.cloned

    def tick(self) -> None:
        """Call every `attention.TICK_S`: so a stall of this process is noticed, and is no age of others."""
        self.settling_s()
        self.attention.tick()

    def awake_s(self) -> float:
        """Loop time less what was lost while this process stood still."""
        self.settling_s()
        return self.now() - self.attention.total_s

    def settling_s(self) -> float:
        """Seconds for which others should not be judged yet, after a stall of this process."""
        lost_s = self.attention.lost_s()
        if lost_s:
            for heard in self.table.values():
                heard.at_s += lost_s
        return self.attention.settling_s()

    def set_status(
        self, state: str, progress: float, battery: float | None, job: bytes, round_: int
    ) -> Heartbeat:
        """Set what this node's next heartbeat says; `progress` and `battery` are 0..1."""
        count = self._mine.count if self._mine else 0
        said = STATES.index("cloned" if self.cloned else "blocked" if self.blocked else state)
        self._mine = Heartbeat(
            self.node[:8], self.incarnation.start, count, said, int(100 * min(1.0, max(0.0, progress))),
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

    def merge(self, heartbeats: Iterable[Heartbeat], sender: bytes = b"") -> list[Heartbeat]:
        """Take in what a neighbour knows (`sender`: its id). Returns the heartbeats that were news."""
        news = []
        changed = False
        for heartbeat in heartbeats:
            if not heartbeat.readable() or heartbeat.node in self.forbidden:
                continue
            if heartbeat.node == self.node[:8]:
                self.supersede_old_incarnation(heartbeat)
                continue
            direct = heartbeat.node == sender[:8]
            if direct:
                self.incarnation.on_contact(self.now())
            known = self.table.get(heartbeat.node)
            if known is not None and known.heartbeat.age_key >= heartbeat.age_key:
                known.direct |= direct and known.heartbeat == heartbeat
                continue
            if known is None:
                self._make_room(heartbeat.node)
            now_s = self.now()
            self.table[heartbeat.node] = heard = self._heard(known, heartbeat, now_s)
            heard.direct = direct
            if known is None or known.differs_from(heartbeat) or now_s - known.at_s > SILENCE_S:
                changed = True
            if heard.since_s == now_s or (known is not None and known.differs_rarely(heartbeat)):
                for listener in self.rare_listeners:
                    listener(heartbeat)
            news.append(heartbeat)
        if changed:
            for notify in self.change_listeners:
                notify()
        return news

    def merge_briefs(self, briefs: Iterable[BriefHeartbeat], sender: bytes) -> list[Heartbeat]:
        """The same of brief ones. Returns all that could be read by what is known."""
        found = []
        for brief in briefs:
            known = self.table.get(self._by_short_name.get(brief.node, b""))
            whole = brief.of(known.heartbeat) if known is not None else None
            if whole is not None:
                found.append(whole)
        self.merge(found, sender)
        return found

    def _make_room(self, node: bytes) -> None:
        """For one more node: one that is no member takes the place of another such one, so that a flood
        of made-up ones costs no member its place."""
        if self.members is None or node in self.members:
            if len(self.table) >= HEARTBEATS_MAX:
                self._forget(min(self.table, key=lambda known: self.table[known].at_s))
        else:
            self.unknown[node] = None
            if len(self.unknown) > UNKNOWN_MAX:
                self._forget(next(iter(self.unknown)))
        short = node[:SHORT_NAME_BYTES]
        self._by_short_name[short] = b"" if short in self._by_short_name else node

    def _forget(self, node: bytes) -> None:
        self.table.pop(node, None)
        self.unknown.pop(node, None)
        if self._by_short_name.get(node[:SHORT_NAME_BYTES]) == node:
            del self._by_short_name[node[:SHORT_NAME_BYTES]]

    def admit(self, node: NodeId) -> None:
        """A node is known to be a member."""
        if self.members is not None:
            self.members.add(node[:8])
            self.unknown.pop(node[:8], None)

    def expel(self, node: NodeId) -> None:
        """A node is no member any more: it is not here, whoever passes on that it is."""
        self.forbidden.add(node[:8])
        self._forget(node[:8])
        if self.members is not None:
            self.members.discard(node[:8])
        for notify in self.change_listeners:
            notify()

    def others(self) -> int:
        """How many other members are known by their heartbeats."""
        return len(self.table) - len(self.unknown)

    def _heard(self, known: Heard | None, newer: Heartbeat, now_s: float) -> Heard:
        if known is None:
            return Heard(newer, now_s, 0.0, now_s, self.kept_spells.pop(newer.node, NONE))
        interval_s, away_s = known.interval_until_s(now_s, self.relay_s), now_s - known.at_s
        if not self._was_away(known, away_s):
            return Heard(newer, now_s, interval_s, known.since_s, known.spells)
        off = newer.start != known.heartbeat.start
        spells = known.spells_at(known.at_s).came_back(away_s, off=off)
        return Heard(newer, now_s, interval_s, now_s, spells)

    def _was_away(self, known: Heard, silent_s: float) -> bool:
        """Whether a silence was longer than heartbeats that are lost explain."""
        stale_s = known.staleness_s(self.relay_s)
        if silent_s <= HEARTBEATS_MISSED_MAX * max(HEARTBEAT_USUAL_S, stale_s):
            return False
        usual_s = self.usual_s() if known.heartbeat.job else HEARTBEAT_IDLE_S  # costly to know
        usual_s = max(usual_s, stale_s)
        return silent_s > HEARTBEATS_MISSED_MAX * usual_s

    def outdated(self, heartbeats: Iterable[Heartbeat], sender: bytes) -> list[Heartbeat]:
        """The newer heartbeats of nodes of which these are of an older incarnation, or of the sender itself.

        Whoever sent these is to know: perhaps the node itself, which lost its disk and counts from the
        beginning, so that nobody takes its heartbeats any more."""
        newer = []
        for old in heartbeats:
            heard = self.table.get(old.node)
            own = old.node == sender[:8]
            if heard and (
                heard.heartbeat.age_key > old.age_key if own else heard.heartbeat.start > old.start
            ):
                newer.append(heard.heartbeat)
        return newer

    def supersede_old_incarnation(self, heartbeat: Heartbeat) -> None:
        """Begin above a heartbeat of this node from before it lost its disk: others take only newer ones.

        Where it is of another process that lives, the one that was there first acts no more from then on."""
        if self.incarnation.on_own(heartbeat, self._mine, self.now()):
            self._on_incarnation()

    def meet_twin(self, heartbeat: Heartbeat) -> None:
        """A neighbour has sessions of two processes with this node's key, and this is the newest heartbeat of
        either."""
        mine = self._mine or self.set_status("idle", 0.0, None, b"", 0)
        if heartbeat.node != self.node[:8] or not heartbeat.readable():
            return
        if self.incarnation.on_twin(heartbeat, mine):
            self._on_incarnation()

    def say_again(self) -> None:
        """Go on above what was said last, so that a twin hears of newer and newer incarnations."""
        self.incarnation.say_again()
        self._on_incarnation()

    def _on_incarnation(self) -> None:
        if self._mine is not None:
            self._mine = msgspec.structs.replace(self._mine, start=self.incarnation.start)
        for notify in self.change_listeners:
            notify()

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
        stale_s = heard.staleness_s(self.relay_s)
        period_s = max(HEARTBEAT_USUAL_S, heard.interval_s, stale_s)
        if self.now() > heard.at_s + HEARTBEAT_USUAL_S + HEARTBEATS_MISSED_MAX * period_s:
            period_s = max(self.usual_s(), stale_s)  # costly to know
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

    def said(self) -> int:
        """How many heartbeats this process has sent."""
        return self._mine.count if self._mine else 0

    def mine(self) -> list[Heartbeat]:
        """This node's own, once it was set."""
        return [self._mine] if self._mine else []

    def heartbeats(self) -> list[Heartbeat]:
        """Those of all other members that are known."""
        return [h.heartbeat for node, h in self.table.items() if node not in self.unknown]
