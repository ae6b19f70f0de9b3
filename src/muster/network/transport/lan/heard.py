"""Which members' sessions were heard on the networks here, and which of them is to be dialled now.

Of two that hear each other and are to be linked (`overlay`), the one with the lower id dials at once, and the
other only if that came to nothing: a link costs one handshake.  A session that is heard at several addresses
is dialled at the one where it was heard last, IPv4 first, so that a dead one is not waited for; each further
attempt takes the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from muster.network.transport.lan.beacon import Beacon
from muster.network.transport.lan.overlay import COMPLETE_MAX, LINKS_ALONE, LINKS_MAX, Member, to_dial

SESSIONS_MAX = 256
ADDRESSES_MAX = 8  # of one session
FORGET_S = 100.0  # after three beacons that did not come
SECOND_S = 3.0  # later than the first the other one dials
REPLY_S = (
    0.3  # for answers; the engine tries one address of a session at a time, for ten seconds if it is dead
)
AGAIN_FIRST_S, AGAIN_MAX_S = 2.0, 30.0  # between attempts at one session
PENDING_S = 4.0  # that an attempt may take, before another one is dialled instead
SUSPECT_S = 3.0  # after a question that a member did not answer
SETTLE_S = 1.5  # after this node's session began, before it knows how many there are
PACE_S = (0.3, 1.0)  # between two attempts where not all are linked: others are to hear of the last one
GOLDEN = 0.618034  # whose multiples, less their whole parts, are spread evenly over 0..1


@dataclass
class HeardSession:
    """One session of a member."""

    node: bytes
    session: str
    port: int
    next_s: float  # when it may be dialled again
    addresses: dict[str, float] = field(default_factory=dict)  # when it was heard there; the last one last
    tries: int = 0
    links: int = 0  # that it says it has
    heard_s: float = 0.0
    dialled_s: float = -math.inf
    asked_s: float = -math.inf  # the first question since it was heard

    def pending(self, now_s: float) -> bool:
        return now_s < self.dialled_s + PENDING_S

    def counts(self, now_s: float, *, linked: bool) -> bool:
        """Whether to reckon with it: it answers, and can be dialled as far as is known."""
        suspect = self.asked_s >= self.heard_s and now_s > self.asked_s + SUSPECT_S
        failed = self.tries > 0 and now_s < self.next_s and not self.pending(now_s)
        return linked or not (suspect or failed)


class HeardSessions:
    """Those that were heard of late. `node` is this node's short id, `own` its own session."""

    def __init__(self, node: bytes) -> None:
        self._node = node
        self._sessions: dict[str, HeardSession] = {}  # the one that was heard last stands last
        self._settled_s = 0.0  # loop time
        self._dial_s = 0.0  # of the next attempt, where not all are linked
        self._dials = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def hear(self, beacon: Beacon, address: str, now_s: float) -> bool:
        """A beacon came from this address; whether the session is new here, and can be dialled."""
        if not beacon.port:
            return False
        known = self._sessions.pop(beacon.session, None)
        new = known is None or known.port != beacon.port
        if known is None or new:
            for older in [s for s, one in self._sessions.items() if one.node == beacon.node]:
                del self._sessions[older]  # a node has one session at a time
            known = HeardSession(beacon.node, beacon.session, beacon.port, now_s + self._wait_s(beacon.node))
        self._sessions[beacon.session] = known
        known.links, known.heard_s = beacon.links, now_s
        known.addresses.pop(address, None)
        known.addresses[address] = now_s
        if len(known.addresses) > ADDRESSES_MAX:
            del known.addresses[next(iter(known.addresses))]
        if len(self._sessions) > SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        return new

    def begin(self, now_s: float) -> None:
        """This node's session begins."""
        self._settled_s = now_s + SETTLE_S

    def asked(self, now_s: float) -> None:
        """This node asks who is there."""
        for one in self._sessions.values():
            if one.asked_s < one.heard_s:
                one.asked_s = now_s

    def again(self, now_s: float) -> None:
        """Something changed here, and it is asked who is there: what came to nothing before is tried again,
        when answers have said at which addresses."""
        for one in self._sessions.values():
            one.tries, one.next_s = 0, now_s + REPLY_S + self._wait_s(one.node)

    def due(
        self, linked: Callable[[str], bool], now_s: float, links: int = 0, *, repairs: bool = False
    ) -> list[tuple[str, str, int]]:
        """Whom to dial now: session, address, port. `linked(session)`: whether there is a link already;
        `links`: how many this node has; `repairs`: whether it lost one of late."""
        self._forget(now_s)
        has = {one.node for session, one in self._sessions.items() if linked(session)}
        for one in self._sessions.values():
            if one.node in has:
                one.tries, one.next_s, one.dialled_s = 0, now_s + self._wait_s(one.node), -math.inf
        known = {
            one.node: one for one in self._sessions.values() if one.counts(now_s, linked=one.node in has)
        }
        all_linked = len(known) < COMPLETE_MAX
        pending = {one.node for one in known.values() if one.pending(now_s)}
        busy = has if all_linked else has | pending
        others = [Member(one.node, one.links, one.node in busy) for one in known.values()]
        wanted = to_dial(self._node, links + len(pending), others, repairs=repairs)
        if now_s < self._settled_s:
            few = [node for node in wanted if known[node].links < LINKS_MAX]
            wanted = few[: max(0, LINKS_ALONE - links - len(pending))]
        dials = []
        for one in (known[node] for node in wanted):
            if now_s >= one.next_s and (all_linked or now_s >= self._dial_s):
                dials.append(self._dial(one, now_s))
        return dials

    def crowded(self) -> bool:
        """Whether there are more than are all linked to each other."""
        return len(self._sessions) >= COMPLETE_MAX

    def _forget(self, now_s: float) -> None:
        for session, one in list(self._sessions.items()):
            one.addresses = {a: at_s for a, at_s in one.addresses.items() if now_s - at_s < FORGET_S}
            if not one.addresses:
                del self._sessions[session]

    def _dial(self, one: HeardSession, now_s: float) -> tuple[str, str, int]:
        best_first = list(reversed(one.addresses))
        best_first.sort(key=lambda address: ":" in address)
        address = best_first[one.tries % len(best_first)]
        one.next_s = now_s + min(AGAIN_MAX_S, AGAIN_FIRST_S * 2.0**one.tries)
        one.tries += 1
        one.dialled_s = now_s
        self._dials += 1
        least_s, most_s = PACE_S
        share = (int.from_bytes(self._node, "big") / 2**64 + GOLDEN * self._dials) % 1.0
        self._dial_s = now_s + least_s + (most_s - least_s) * share
        return one.session, address, one.port

    def _wait_s(self, node: bytes) -> float:
        """How long this node leaves it to another one to dial."""
        return 0.0 if self._node <= node else SECOND_S
