"""Which members' sessions were heard on the networks here, and which of them is to be dialled now.

Of two that hear each other, the one with the lower id dials at once, and the other only if that came to
nothing: a link costs one handshake.  A session that is heard at several addresses is dialled at the one
where it was heard last, IPv4 first, so that a dead one is not waited for; each further attempt takes the
next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from muster.network.transport.lan.beacon import Beacon

SESSIONS_MAX = 256
ADDRESSES_MAX = 8  # of one session
FORGET_S = 100.0  # after three beacons that did not come
SECOND_S = 3.0  # later than the first the other one dials
AGAIN_FIRST_S, AGAIN_MAX_S = 2.0, 30.0  # between attempts at one session


@dataclass
class HeardSession:
    """One session of a member."""

    node: bytes
    session: str
    port: int
    next_s: float  # when it may be dialled again
    addresses: dict[str, float] = field(default_factory=dict)  # when it was heard there; the last one last
    tries: int = 0


class HeardSessions:
    """Those that were heard of late. `node` is this node's short id, `own` its own session."""

    def __init__(self, node: bytes) -> None:
        self._node = node
        self._sessions: dict[str, HeardSession] = {}  # the one that was heard last stands last

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
        known.addresses.pop(address, None)
        known.addresses[address] = now_s
        if len(known.addresses) > ADDRESSES_MAX:
            del known.addresses[next(iter(known.addresses))]
        if len(self._sessions) > SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        return new

    def again(self, now_s: float) -> None:
        """Something changed here: what came to nothing before is tried again."""
        for one in self._sessions.values():
            one.tries, one.next_s = 0, now_s + self._wait_s(one.node)

    def due(self, linked: Callable[[str], bool], now_s: float) -> list[tuple[str, str, int]]:
        """Whom to dial now: session, address, port. `linked(session)`: whether there is a link already."""
        dials = []
        for session, one in list(self._sessions.items()):
            one.addresses = {a: at_s for a, at_s in one.addresses.items() if now_s - at_s < FORGET_S}
            if not one.addresses:
                del self._sessions[session]
            elif linked(session):
                one.tries, one.next_s = 0, now_s + self._wait_s(one.node)
            elif now_s >= one.next_s:
                best_first = list(reversed(one.addresses))
                best_first.sort(key=lambda address: ":" in address)
                dials.append((session, best_first[one.tries % len(best_first)], one.port))
                one.next_s = now_s + min(AGAIN_MAX_S, AGAIN_FIRST_S * 2.0**one.tries)
                one.tries += 1
        return dials

    def _wait_s(self, node: bytes) -> float:
        """How long this node leaves it to another one to dial."""
        return 0.0 if self._node <= node else SECOND_S
