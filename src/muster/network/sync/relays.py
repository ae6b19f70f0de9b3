"""Which heartbeats of others a neighbour gets, and how many of them now: a state machine, no clock, no link.

In a small fleet all that is new is passed on.  In a larger one a neighbour gets heartbeats of others within a
budget of bytes a second: those of who coordinates and who changed first, then those that it lacks longest.
Nobody gets what he said himself, unless somebody else said newer in his name; and of those whom the
neighbour hears itself (it says which) a few at a time, in case that it is wrong about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field

from muster.network.sync.heard import Heard
from muster.network.sync.heartbeat import (
    BRIEF_BYTES,
    COORDINATING,
    FULL_BYTES,
    NAME_BYTES,
    SHORT_NAME_BYTES,
    BriefHeartbeat,
    Heartbeat,
)
from muster.network.sync.presence import HEARTBEAT_USUAL_S, Presence
from muster.protocol.ids import NodeId

SMALL_FLEET = 12  # others known; up to so many all that is new is passed on
RELAY_NARROW_S = 60.0  # between two relays on a narrow link,
BUDGET_S = 60.0  # and for how long a budget that is not used is kept
RELAY_BYTES_S = 200.0  # to one neighbour while a job runs, if a share of its link's rate is not less,
RELAY_IDLE_BYTES_S = 20.0  # and while none does
AHEAD_S = 30.0  # so much earlier at least goes what changed, and twice as much who coordinates
HEARD_ITSELF_MOST = 2  # in one relay, of those that the neighbour hears itself
BRIEFS_MOST = 8  # of one node, before one in full: that may have been lost
Relayed = Heartbeat | BriefHeartbeat


@dataclass(slots=True)
class _Sent:
    """The newest heartbeat of a node that the neighbour is known to have, since `at_s`."""

    heartbeat: Heartbeat
    at_s: float
    briefs: int = 0


@dataclass
class Relays:
    """Towards one neighbour. `due_s`: of the next relay."""

    node: NodeId
    due_s: float = 0.0
    hears: Set[bytes] = frozenset()  # short names of those that the neighbour hears itself
    _sent: dict[bytes, _Sent] = field(default_factory=dict)
    _corrections: dict[bytes, Heartbeat] = field(default_factory=dict)
    _budget_bytes: float = 0.0
    _budget_at_s: float | None = None

    def begin(self, now_s: float) -> None:
        """A session begins: all is news."""
        self._sent.clear()
        self._corrections.clear()
        self.hears, self.due_s, self._budget_at_s = frozenset(), now_s, None

    def on_said(self, heartbeats: Iterable[Heartbeat], now_s: float) -> None:
        """The neighbour said these, so that it need not get them."""
        for heartbeat in heartbeats:
            sent = self._sent.get(heartbeat.node)
            if sent is None or sent.heartbeat.age_key < heartbeat.age_key:
                self._sent[heartbeat.node] = _Sent(heartbeat, now_s)

    def on_hears(self, names: Set[bytes], now_s: float) -> None:
        """The neighbour says whom it hears itself; of whom it does not any more it is to hear soon."""
        if self.hears - names:
            self.due_s = now_s
        self.hears = names

    def on_outdated(self, newer: Iterable[Heartbeat]) -> None:
        """The neighbour sent older heartbeats of these nodes, perhaps of itself: it is to know the newer."""
        self._corrections |= {heartbeat.node: heartbeat for heartbeat in newer}

    def on_rare(self, heartbeat: Heartbeat, *, direct: bool) -> bool:
        """A node came, went or does other work. Returns whether the neighbour is to hear of it at once, as it
        does not hear the node itself; or is that node, which did not say it (`direct`): another process has
        its key, and it gets that heartbeat."""
        if heartbeat.node == self.node[:NAME_BYTES]:
            if not direct:
                self.on_outdated([heartbeat])
            return not direct
        return heartbeat.node[:SHORT_NAME_BYTES] not in self.hears

    def take(
        self, presence: Presence, now_s: float, *, narrow: bool, rate_bytes_s: Callable[[], float]
    ) -> list[Relayed]:
        """What the neighbour gets now; from now on it is known to have it.

        `rate_bytes_s()` is what that may take of the link; it is costly to know."""
        corrections, self._corrections = self._corrections, {}
        if len(self._sent) > len(presence.table) + len(corrections):
            self._sent = {node: sent for node, sent in self._sent.items() if node in presence.table}
        small = presence.others() <= SMALL_FLEET
        if now_s < self.due_s and (narrow or not small):
            return [*corrections.values()]
        self.due_s = now_s + (RELAY_NARROW_S if narrow else HEARTBEAT_USUAL_S)
        news = self._news(presence)
        if small:
            chosen = [self._tell(heard.heartbeat, now_s, in_full=True) for _, heard in news]
        else:
            rate = rate_bytes_s()
            self._add_to_budget(now_s, rate)
            round_s = relay_s(len(presence.table), rate)
            ranked = sorted(((self._rank(*one, round_s), one[1]) for one in news), key=lambda pair: pair[0])
            chosen = list(self._within_budget((heard for _, heard in ranked), now_s))
        return [*corrections.values(), *chosen]

    def _news(self, presence: Presence) -> list[tuple[float, Heard]]:
        """What the neighbour is not known to have, with since when, but for what it hears itself."""
        mine, unknown, found = self.node[:NAME_BYTES], presence.unknown, []
        for node, heard in presence.table.items():
            sent = self._sent.get(node)
            if sent is not None and sent.heartbeat.age_key >= heard.heartbeat.age_key:
                continue
            if node != mine and node not in unknown:
                found.append((-1.0 if sent is None else sent.at_s, heard))
        return found

    def _within_budget(self, news: Iterable[Heard], now_s: float) -> Iterator[Relayed]:
        heard_itself = HEARD_ITSELF_MOST
        for heard in news:
            if self._budget_bytes <= 0:
                return
            heartbeat = heard.heartbeat
            if heartbeat.node[:SHORT_NAME_BYTES] in self.hears:
                if not heard_itself:
                    continue
                heard_itself -= 1
            sent = self._sent.get(heartbeat.node)
            in_full = (
                sent is None or sent.briefs >= BRIEFS_MOST or not sent.heartbeat.same_but_brief(heartbeat)
            )
            self._budget_bytes -= FULL_BYTES if in_full else BRIEF_BYTES
            yield self._tell(heartbeat, now_s, in_full=in_full)

    def _rank(self, sent_s: float, heard: Heard, round_s: float) -> float:
        """The smaller, the sooner. `round_s`: how long everybody's take."""
        heartbeat, sent = heard.heartbeat, self._sent.get(heard.heartbeat.node)
        if heartbeat.state == COORDINATING:
            return sent_s - 2 * max(AHEAD_S, round_s)
        changed = sent is None or not sent.heartbeat.same_but_brief(heartbeat)
        changed = changed or (sent is not None and sent.heartbeat.state != heartbeat.state)
        return sent_s - max(AHEAD_S, round_s) * changed

    def _tell(self, heartbeat: Heartbeat, now_s: float, *, in_full: bool) -> Relayed:
        sent = self._sent.get(heartbeat.node)
        briefs = 0 if in_full or sent is None else sent.briefs + 1
        self._sent[heartbeat.node] = _Sent(heartbeat, now_s, briefs)
        return heartbeat if in_full else heartbeat.brief()

    def _add_to_budget(self, now_s: float, rate_bytes_s: float) -> None:
        since_s = BUDGET_S if self._budget_at_s is None else now_s - self._budget_at_s
        self._budget_bytes = min(self._budget_bytes + rate_bytes_s * since_s, rate_bytes_s * BUDGET_S)
        self._budget_at_s = now_s


def relay_s(nodes: int, rate_bytes_s: float) -> float:
    """Seconds for one heartbeat of everybody at such a rate; 0 in a small fleet, where all go at once."""
    return nodes * BRIEF_BYTES / rate_bytes_s if nodes > SMALL_FLEET else 0.0
