"""What a node says of itself, and how it crosses a link: in full, or briefly to who had it in full.

A heartbeat is a register, not a message: the one with the larger (start, count) replaces the other, any of
them may be lost, and nothing but hints depends on it.  Hence it is small and not signed; links are
authenticated, so that only members of the fleet can send one at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from muster.protocol.varint import VarintError, decode_varint, encode_varint

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
RARE = tuple(STATES.index(state) for state in ("leaving", "blocked", "cloned"))
COORDINATING = STATES.index("coordinating")
NUMBER_END = 1 << 53  # of the numbers in a heartbeat
START_MAX = NUMBER_END - 1
NAME_BYTES = 8  # of a node's id, in a heartbeat,
SHORT_NAME_BYTES = 4  # in a brief one, and in the list of whom a node hears itself
FULL_BYTES = 20  # of another node's heartbeat, about
BRIEF_BYTES = 9
HEARS_MAX = 120  # nodes in the list of whom a node hears itself
_NUMBER_BYTES_MAX = 10  # 70 bits
_NO_BATTERY = 255
_HAS_BATTERY, _HAS_JOB, _OWN, _BRIEF = 0x10, 0x20, 0x40, 0x80  # beside the state
_HEARS, _DIGEST = 0x0F, 0x1F  # instead of a state: the list follows; the digest
DIGEST_BYTES = 4  # of that of all records


class Heartbeat(msgspec.Struct, frozen=True, array_like=True):
    """What a node says of itself; 10 to 20 bytes on the wire."""

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

    def readable(self) -> bool:
        """Whether it is within its limits: the node itself goes on above its numbers."""
        numbers = (self.start, self.count, self.round)
        return 0 <= self.state < len(STATES) and all(0 <= n < NUMBER_END for n in numbers)

    def brief(self) -> BriefHeartbeat:
        return BriefHeartbeat(
            self.node[:SHORT_NAME_BYTES], self.start & 0xFF, self.count, self.state, self.progress
        )

    def same_but_brief(self, other: Heartbeat) -> bool:
        """Whether the other one differs in nothing that a brief heartbeat leaves out."""
        return (self.start, self.job, self.round) == (other.start, other.job, other.round)


class BriefHeartbeat(msgspec.Struct, frozen=True):
    """A later heartbeat of a node whose start, job and round the receiver has."""

    node: bytes  # first 4 bytes of the node id
    start: int  # its lowest byte
    count: int
    state: int
    progress: int

    def of(self, known: Heartbeat) -> Heartbeat | None:
        """In full, by the newest one that is known; None if that is of another start."""
        if known.start & 0xFF != self.start or not 0 <= self.state < len(STATES):
            return None
        return msgspec.structs.replace(known, count=self.count, state=self.state, progress=self.progress)


@dataclass(frozen=True)
class Said:
    """What a neighbour said of nodes. `hears`: short names of all that it hears itself, if it said that."""

    heartbeats: list[Heartbeat] = field(default_factory=list)
    briefs: list[BriefHeartbeat] = field(default_factory=list)
    hears: frozenset[bytes] | None = None
    digest: bytes = b""  # the first bytes of that of all its records, if it said that


def pack_heartbeats(
    heartbeats: Iterable[Heartbeat | BriefHeartbeat],
    mine: bytes,
    hears: Iterable[bytes] | None = None,
    digest: bytes = b"",
) -> bytes:
    """About 10 bytes for the sender's own (`mine`: the first 8 bytes of its id), 20 for another node's, 9 for
    a brief one, 4 for each of those that it hears itself."""
    out = bytearray()
    if hears is not None:
        names = sorted(hears)[:HEARS_MAX]
        out.append(_HEARS)
        out += encode_varint(len(names)) + b"".join(names)
    if digest:
        out.append(_DIGEST)
        out += digest[:DIGEST_BYTES]
    for heartbeat in heartbeats:
        if isinstance(heartbeat, BriefHeartbeat):
            out.append(_BRIEF | heartbeat.state)
            out += heartbeat.node
            out += bytes((heartbeat.start, heartbeat.progress)) + encode_varint(heartbeat.count)
            continue
        flags = heartbeat.state | (_HAS_BATTERY if heartbeat.battery != _NO_BATTERY else 0)
        flags |= (_HAS_JOB if len(heartbeat.job) == 4 else 0) | (_OWN if heartbeat.node == mine else 0)
        out.append(flags)
        out += b"" if flags & _OWN else heartbeat.node
        for number in (heartbeat.start, heartbeat.count, heartbeat.round):
            out += encode_varint(number)
        out.append(heartbeat.progress)
        out += bytes((heartbeat.battery,)) if flags & _HAS_BATTERY else b""
        out += heartbeat.job if flags & _HAS_JOB else b""
    return bytes(out)


def unpack_heartbeats(data: bytes, sender: bytes) -> Said:
    """What is in `data`; `sender`: its id, or the first 8 bytes of it. A damaged end is left out."""
    reader = _Reader(data, sender[:NAME_BYTES])
    heartbeats: list[Heartbeat] = []
    briefs: list[BriefHeartbeat] = []
    hears: frozenset[bytes] | None = None
    digest = b""
    try:
        while reader.at < len(data):
            flags = reader.byte()
            if flags == _HEARS:
                hears = reader.names()
            elif flags == _DIGEST:
                digest = reader.take(DIGEST_BYTES)
            elif flags & _BRIEF:
                briefs.append(reader.brief(flags))
            else:
                heartbeats.append(reader.full(flags))
    except (IndexError, VarintError):
        pass
    return Said(heartbeats, briefs, hears, digest)


class _Reader:
    """Reads heartbeats one after another. Raises IndexError or VarintError at a damaged end."""

    def __init__(self, data: bytes, sender: bytes) -> None:
        self.data, self.sender, self.at = data, sender, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def take(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self.data):
            raise IndexError
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        found, self.at = decode_varint(self.data, self.at, bytes_max=_NUMBER_BYTES_MAX)
        return found

    def names(self) -> frozenset[bytes]:
        count = self.number()
        if count > HEARS_MAX:
            raise IndexError
        found = self.take(count * SHORT_NAME_BYTES)
        return frozenset(found[i : i + SHORT_NAME_BYTES] for i in range(0, len(found), SHORT_NAME_BYTES))

    def brief(self, flags: int) -> BriefHeartbeat:
        name = self.take(SHORT_NAME_BYTES)
        start, progress = self.byte(), self.byte()
        return BriefHeartbeat(name, start, self.number(), _state(flags), progress)

    def full(self, flags: int) -> Heartbeat:
        node = self.sender if flags & _OWN else self.take(NAME_BYTES)
        start, count, round_ = self.number(), self.number(), self.number()
        progress = self.byte()
        battery = self.byte() if flags & _HAS_BATTERY else _NO_BATTERY
        job = self.take(4) if flags & _HAS_JOB else b""
        return Heartbeat(node, start, count, _state(flags), progress, battery, job, round_)


def _state(flags: int) -> int:
    """A state of a later version is as good as none: it is laid out like the others."""
    state = flags & 15
    return state if state < len(STATES) else STATES.index("idle")
