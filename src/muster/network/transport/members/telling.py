"""Tells neighbours where members listen; has one dialled elsewhere that left its configured endpoint.

It tells when a neighbour comes and when something changed, each register once: an idle link costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from muster.network.supervisor import Pulse, Supervisor
from muster.network.transport.endpoints import Endpoint
from muster.network.transport.link import Handler, Neighbour, Refused, Unreachable
from muster.network.transport.members.book import SHORT_BYTES, AddressBook, Place, decode, dialled, encode
from muster.network.transport.members.clocks import clock_fault
from muster.protocol.ids import NodeId

TOPIC = "a"
LOOK_S = 2.0
ANSWER_S = 20.0  # that a neighbour may take
AGAIN_S = 30.0  # after one that did not answer
LOST_S = 2.0  # a member is away for so long before it is dialled elsewhere ...
DIAL_FIRST_S, DIAL_MAX_S = 5.0, 60.0  # ... and again after so long, doubled each time
KEEP_S = 60.0  # between two times that the book is kept
KEY = "addresses"  # of the store's state
ENDPOINTS_KEPT_MAX = 64


class AddressedLink(Protocol):
    """What this needs of a link."""

    node: NodeId

    def neighbours(self) -> dict[NodeId, Neighbour]: ...

    async def ask(self, node: NodeId, topic: str, payload: bytes, *, timeout_s: float) -> bytes: ...

    def serve(self, topic: str, handler: Handler) -> None: ...

    def place(self) -> tuple[bytes, list[str]]:
        """The present session, and where it can be dialled."""

    def members_at(self) -> Mapping[Endpoint, NodeId]:
        """Which neighbours the configured endpoints lead to."""

    def dial(self, session: bytes, point: Endpoint) -> None:
        """Have a session dialled; one to which there is a link is left alone."""


@dataclass
class Informed:
    """What a neighbour knows in its present session: sent to it, or heard from it."""

    since_s: float  # loop time at which that came up
    numbers: dict[bytes, int] = field(default_factory=dict)  # by member
    greeted: bool = False
    asking: bool = False
    next_s: float = 0.0

    def hears(self, place: Place) -> None:
        self.numbers[place.node] = max(place.number, self.numbers.get(place.node, -1))


@dataclass
class Attempt:
    """A member is dialled elsewhere than at its configured endpoint."""

    next_s: float
    tries: int = 0


class Kept(msgspec.Struct, array_like=True):
    book: bytes
    members: list[tuple[str, int, bytes]]  # host, port and member of configured endpoints


class MemberAddresses:
    """`kept`: what an earlier process kept by `keep(data)`; `wall_s()`: this machine's clock."""

    def __init__(
        self,
        link: AddressedLink,
        kept: bytes | None,
        *,
        keep: Callable[[bytes], None],
        wall_s: Callable[[], float],
        on_problem: Callable[[str], None],
        supervisor: Supervisor,
    ) -> None:
        before = msgspec.msgpack.decode(kept, type=Kept) if kept else Kept(b"", [])
        self._link, self._keep, self._wall_s = link, keep, wall_s
        self._on_problem, self._supervisor = on_problem, supervisor
        self.book = AddressBook(link.node[:SHORT_BYTES], before.book)
        self._members = {Endpoint(host, port): node for host, port, node in before.members}
        self._informed: dict[NodeId, Informed] = {}
        self._attempts: dict[Endpoint, Attempt] = {}
        self._clocks: dict[NodeId, str] = {}  # neighbours whose clock was found to differ: a sentence
        self._changed = False
        link.serve(TOPIC, self._hear)

    async def run(self, pulse: Pulse) -> None:
        """For ever; cancel to stop."""
        now, kept_s = asyncio.get_running_loop().time, 0.0
        while True:
            self._changed |= self.book.note_own(*self._link.place())
            self._tell(now())
            self._dial(now())
            if self._changed and now() >= kept_s + KEEP_S:
                kept_s, self._changed = now(), False
                members = [(point.host, point.port, node) for point, node in self._members.items()]
                self._keep(msgspec.msgpack.encode(Kept(self.book.keep(), members)))
            pulse.renew(LOOK_S)
            await asyncio.sleep(LOOK_S)

    # ---- telling -----------------------------------------------------------------------------------------

    def _tell(self, now_s: float) -> None:
        present = self._link.neighbours()
        self._informed = {node: informed for node, informed in self._informed.items() if node in present}
        for node, neighbour in present.items():
            informed = self._informed.get(node)
            if informed is None or informed.since_s != neighbour.since_s:
                informed = self._informed[node] = Informed(neighbour.since_s)
            if informed.asking or now_s < informed.next_s:
                continue
            news = self.book.news_for(informed.numbers)
            if news or not informed.greeted:
                informed.asking = True
                self._supervisor.once("telling addresses", self._say(node, informed, news))

    async def _say(self, node: NodeId, informed: Informed, news: list[Place]) -> None:
        try:
            payload = encode(self._wall_s(), news)
            await self._link.ask(node, TOPIC, payload, timeout_s=ANSWER_S)
        except (Unreachable, Refused):  # it went, or is of a version without this
            informed.next_s = asyncio.get_running_loop().time() + AGAIN_S
        else:
            informed.greeted = True
            for place in news:
                informed.hears(place)
        finally:
            informed.asking = False

    async def _hear(self, node: NodeId, payload: bytes) -> bytes:
        greeting = decode(payload)
        if greeting is None:
            return b""
        informed = self._informed.get(node)
        for place in greeting.places:
            self._changed |= self.book.hear(place)
            if informed is not None:
                informed.hears(place)
        self._compare_clocks(node, greeting.wall_s)
        return b""

    def _compare_clocks(self, node: NodeId, wall_s: float) -> None:
        neighbour = self._link.neighbours().get(node)
        fault = clock_fault(self._wall_s(), wall_s, neighbour.name if neighbour else node[:4].hex())
        if fault is None:
            self._clocks.pop(node, None)
            return
        if node not in self._clocks:
            self._on_problem(fault)
        self._clocks[node] = fault

    def clock_faults(self) -> list[str]:
        """Sentences about neighbours in reach whose clock differs from this one by more than a day."""
        present = self._link.neighbours()
        return list(dict.fromkeys(said for node, said in self._clocks.items() if node in present))

    # ---- dialling ----------------------------------------------------------------------------------------

    def _dial(self, now_s: float) -> None:
        found = self._link.members_at()
        if any(self._members.get(point) != node for point, node in found.items()):
            self._members = dict(list((self._members | dict(found)).items())[-ENDPOINTS_KEPT_MAX:])
            self._changed = True
        present = self._link.neighbours()
        lost = {point: node for point, node in self._members.items() if node not in present}
        self._attempts = {p: self._attempts.get(p) or Attempt(now_s + LOST_S) for p in lost}
        for point, attempt in self._attempts.items():
            if now_s < attempt.next_s:
                continue
            place = self.book.places.get(lost[point][:SHORT_BYTES])
            texts = place.endpoints if place is not None else ()
            others = [other for text in texts if (other := dialled(text)) and other != point]
            if place is not None and others:
                self._link.dial(place.session, others[attempt.tries % len(others)])
                attempt.next_s = now_s + min(DIAL_MAX_S, DIAL_FIRST_S * 2.0 ** (attempt.tries // len(others)))
                attempt.tries += 1
