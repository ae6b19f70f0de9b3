"""The datagram by which members on one network hear of each other: who is here, on which port.

    "mu" | 1 | kind | fleet, 8 bytes | node, 8 bytes | session, 8 bytes | port, 2 bytes | links, 1 byte

31 bytes.  It is not signed, and need not be: whoever is dialled for it must show a certificate of the fleet.
Identifiers are the first bytes of hashes.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal

_FORM = struct.Struct(">2sBB8s8s8sHB")
LINKS_END = 255  # so many or more
_MAGIC, _VERSION = b"mu", 1
_KINDS: dict[int, Literal["here", "who"]] = {0: "here", 1: "who"}


@dataclass(frozen=True)
class Beacon:
    """A member's session, in hexadecimal; a beacon of kind "who" wants to be answered.

    `port` is 0 where it listens on none of the addresses from which this can come; `links`: how many it has.
    """

    kind: Literal["here", "who"]
    fleet: bytes
    node: bytes
    session: str
    port: int
    links: int = 0


def fleet_tag(ca_certificate: bytes) -> bytes:
    """What a fleet is called in its beacons."""
    return hashlib.sha256(ca_certificate).digest()[:8]


def encode(beacon: Beacon) -> bytes:
    kind = 1 if beacon.kind == "who" else 0
    session = bytes.fromhex(beacon.session)
    links = min(beacon.links, LINKS_END)
    return _FORM.pack(_MAGIC, _VERSION, kind, beacon.fleet, beacon.node, session, beacon.port, links)


def decode(data: bytes) -> Beacon | None:
    """None for anything else. A later version may add to the end.

    >>> decode(encode(Beacon("who", b"f" * 8, b"n" * 8, "80" * 8, 7447))).port
    7447
    """
    if len(data) < _FORM.size:
        return None
    magic, version, kind, fleet, node, session, port, links = _FORM.unpack_from(data)
    if magic != _MAGIC or version < _VERSION or kind not in _KINDS or not session[0]:
        return None
    return Beacon(_KINDS[kind], fleet, node, session.hex(), port, links)
