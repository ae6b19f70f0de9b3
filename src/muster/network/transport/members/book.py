"""The addresses of members as they were heard: one register each, the larger number replaces the other.

Whoever is dialled for such a hint must show a certificate of the fleet, and who he is comes from it: a false
hint costs one attempt.  That is why it is not signed; only members can send one at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from muster.errors import MusterError
from muster.network.transport.endpoints import Endpoint, endpoint
from muster.protocol.envelope import UNREADABLE

SHORT_BYTES = 8  # of a node's id, and of a session's
MEMBERS_MAX = 512
ENDPOINTS_MAX = 8  # of one member
PLACES_MAX = 32  # in one message
TEXT_CHARS_MAX = 56  # an IPv6 address in brackets, and a port
NUMBER_END = 1 << 53
VERSION = 1


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where one member listens."""

    node: bytes  # the first 8 bytes of its id
    number: int  # grows with each change
    session: bytes  # of the engine, as it is now: whom to dial there
    endpoints: tuple[str, ...]  # addresses, never names


class Greeting(msgspec.Struct, frozen=True, array_like=True):
    """What a neighbour gets: the sender's clock, and places that are news to it."""

    version: int
    wall_s: int  # since 1970
    places: tuple[Place, ...]


_decoder = msgspec.msgpack.Decoder(Greeting)


def encode(wall_s: float, places: Sequence[Place]) -> bytes:
    return msgspec.msgpack.encode(Greeting(VERSION, round(wall_s), tuple(places[:PLACES_MAX])))


def decode(data: bytes) -> Greeting | None:
    """None if it cannot be read. Places that are none are left out; a later version may add to the end."""
    try:
        greeting = _decoder.decode(data)
    except UNREADABLE:
        return None
    good = tuple(place for place in greeting.places[:PLACES_MAX] if is_place(place))
    return msgspec.structs.replace(greeting, places=good)


def is_place(place: Place) -> bool:
    """Whether a register is within its limits and names addresses that others can dial."""
    if len(place.node) != SHORT_BYTES or len(place.session) != SHORT_BYTES or not place.session[0]:
        return False
    if not 0 <= place.number < NUMBER_END or len(place.endpoints) > ENDPOINTS_MAX:
        return False
    return all(len(text) <= TEXT_CHARS_MAX and dialled(text) is not None for text in place.endpoints)


def dialled(text: str) -> Endpoint | None:
    """The endpoint in a hint; None if nobody else can dial it."""
    try:
        point = endpoint(text)
    except MusterError:
        return None
    address = point.address
    if address is None or not point.port or "%" in point.host:
        return None
    useless = address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local
    return None if useless else point


class AddressBook:
    """One node's registers of all members, its own included. `node`: its short id."""

    def __init__(self, node: bytes, kept: bytes | None = None) -> None:
        """`kept`: what an earlier process of this node kept by `keep`."""
        self._node = node
        self.places: dict[bytes, Place] = {}  # the one that was heard last stands last
        if kept:
            for place in msgspec.msgpack.decode(kept, type=list[Place]):
                self.places[place.node] = place

    def keep(self) -> bytes:
        return msgspec.msgpack.encode(list(self.places.values()))

    def note_own(self, session: bytes, endpoints: Iterable[str]) -> bool:
        """This node listens there now; whether that is news."""
        now, known = tuple(endpoints)[:ENDPOINTS_MAX], self.places.get(self._node)
        if known is not None and (known.session, known.endpoints) == (session, now):
            return False
        self._put(Place(self._node, known.number + 1 if known else 1, session, now))
        return True

    def hear(self, place: Place) -> bool:
        """A neighbour says where a member is; whether that is news."""
        known = self.places.get(place.node)
        if known is not None and known.number >= place.number:
            return False
        if place.node == self._node:
            # From before this node lost its disk: go on above it, or nobody takes what it says.
            own = known or Place(self._node, 0, place.session, ())
            self._put(msgspec.structs.replace(own, number=min(place.number + 1, NUMBER_END - 1)))
            return True
        self._put(place)
        return True

    def news_for(self, known: Mapping[bytes, int]) -> list[Place]:
        """What a neighbour lacks that knows these numbers; at most one message of it."""
        news = [place for place in self.places.values() if known.get(place.node, -1) < place.number]
        return news[-PLACES_MAX:]

    def _put(self, place: Place) -> None:
        self.places.pop(place.node, None)
        self.places[place.node] = place
        if len(self.places) > MEMBERS_MAX:
            del self.places[next(node for node in self.places if node != self._node)]
