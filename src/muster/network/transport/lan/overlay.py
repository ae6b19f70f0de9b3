"""Which of a LAN's members a node dials, so that links grow with their number and not with its square.

Up to `COMPLETE_MAX` nodes all link to each other.  Of more, each dials until it has `LINKS_WANTED` links: its
neighbours on a ring of hashes first, which connects everybody, then others in an order that is drawn for each
pair, which makes paths short.  Everybody says how many links it has; who has enough is left to those that
have few, and who has `LINKS_MAX` to the ring and to those that have next to none, up to `LINKS_MOST`.  No
link is given up for another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

COMPLETE_MAX = 8  # nodes
LINKS_MAX = 7
LINKS_WANTED = 5  # the rest is for those that come later
LINKS_SAFE = 3  # with fewer a node dials also who has enough,
LINKS_ALONE = 2  # with fewer also who has LINKS_MAX,
LINKS_MOST = 8  # or even so many, if they are its ring neighbours or there is nobody else


@dataclass(frozen=True)
class Member:
    """Another one that is heard on the LAN. `linked`: to this node, or being dialled."""

    node: bytes
    links: int  # that it says it has
    linked: bool = False


def to_dial(own: bytes, links: int, others: Sequence[Member], *, repairs: bool = False) -> list[bytes]:
    """Whom to dial now, the first one first. `links`: of this node, with those that are being dialled.

    `repairs`: this node lost a link of late.  Then it links to the next one on the ring whatever else it has:
    those who are left might be in two parts otherwise, none of whose nodes is alone.
    """
    complete = len(others) < COMPLETE_MAX
    if links >= LINKS_WANTED and not repairs and not complete:
        return []
    free = {other.node: other for other in others if not other.linked}
    ring = ring_neighbours(own, [other.node for other in others])
    order = sorted(free, key=lambda node: (node not in ring, _drawn(own, node)))
    if complete:
        return order
    # Whoever comes closes the ring where it stands; the next one on it stands for those that went.
    closes = ring if links < LINKS_SAFE else ring[1:] if repairs else []
    chosen = [node for node in order if node in closes and free[node].links < LINKS_MOST]
    while links + len(chosen) < LINKS_WANTED:
        left = [node for node in order if node not in chosen]
        total = links + len(chosen)
        most = LINKS_WANTED if total >= LINKS_SAFE else LINKS_MAX
        found = next((node for node in left if free[node].links < most), None)
        if found is None and left and total < LINKS_ALONE:
            found = next((node for node in left if free[node].links < LINKS_MOST), left[0])
        if found is None:
            break
        chosen.append(found)
    return chosen


def ring_neighbours(own: bytes, others: Sequence[bytes]) -> list[bytes]:
    """The node before this one on the ring of all, and the one behind it."""
    if not others:
        return []
    ring = sorted({own, *others}, key=lambda node: hashlib.sha256(node).digest())
    at = ring.index(own)
    return [ring[at - 1], ring[(at + 1) % len(ring)]]


def _drawn(one: bytes, other: bytes) -> bytes:
    """The same for both of a pair."""
    return hashlib.sha256(min(one, other) + max(one, other)).digest()
