"""Finds the fleet's members on the networks of this machine by multicast, and has them dialled.

The engine has a discovery of its own, which is not used: it knows only the interfaces that were up when its
process began, names addresses of that time to others, and tries them one after the other (zenoh 1.10.2,
`IFACES` in zenoh-util/src/net/mod.rs; its issues 2086 and 1706).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Literal

from muster.network.supervisor import Pulse
from muster.network.transport.lan.beacon import Beacon, decode, encode
from muster.network.transport.lan.heard import REPLY_S, HeardSessions
from muster.network.transport.lan.interfaces import Interface
from muster.network.transport.lan.sockets import BeaconSockets, Heard

LOOK_S = 1.0  # between two looks at whom to dial ...
LOOK_SOON_S = 0.1  # ... while the engine takes no orders yet, or answers are to come
SAY_S = 30.0  # between two beacons of one to whom nothing happens
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)  # after each question when something did
ANSWER_S = 0.5  # between two answers, which everybody hears
CHANGED_S = 0.1  # between two of one whose links change, where many are to know
REPAIR_S = 60.0  # after a link was lost

Dial = Callable[[str, str, int], None]  # session, address, port


class Discovery:
    """Says that this node is here, hears others, dials those to which there is to be a link (`overlay`).

    `linked(session)`: whether there is a link to that session, or is to be none; `links()`: how many this
    node has; `ready`: whether dialling is possible now.
    """

    def __init__(
        self,
        fleet: bytes,
        node: bytes,
        *,
        linked: Callable[[str], bool],
        links: Callable[[], int] = lambda: 0,
        ready: Callable[[], bool],
        dial: Dial,
        on_problem: Callable[[str], None],
        open_sockets: Callable[[Heard], BeaconSockets] = BeaconSockets,
    ) -> None:
        self._fleet, self._node = fleet, node
        self._linked, self._links, self._ready, self._dial = linked, links, ready, dial
        self._heard = HeardSessions(node)
        self._sockets = open_sockets(self._arrived)
        self._on_problem, self._said_deaf = on_problem, False
        self._session = ""
        self._port_on: Callable[[Interface], int] = lambda interface: 0
        self._eager = 0  # place in `PAUSES_S`
        self._said_s, self._say_s = 0.0, 0.0  # the last beacon and the next, as loop times
        self._asked = False  # since the last beacon
        self._said_links = 0  # in it
        self._repair_s = 0.0  # until when a lost link is made good, as a loop time
        self._stir = asyncio.Event()
        self._present: tuple[Interface, ...] = ()

    def session(self, session: str, port_on: Callable[[Interface], int]) -> None:
        """This node has a new session, which listens on that port of an interface (0: nowhere there)."""
        self._session, self._port_on = session, port_on
        self._heard.begin(asyncio.get_running_loop().time())
        self.ask()

    def interfaces(self, interfaces: Iterable[Interface]) -> None:
        """These are there now."""
        self._present = tuple(interfaces)
        self._join()
        self.ask()

    def changed(self, *, up: bool) -> None:
        """A neighbour came or went."""
        if up:
            self._stir.set()
        else:
            self._repair_s = asyncio.get_running_loop().time() + REPAIR_S
            self.ask()

    def ask(self) -> None:
        """Something happened to the network here: ask at once who is there, and a few times more."""
        self._eager, self._say_s = 0, 0.0
        self._heard.again(asyncio.get_running_loop().time())
        self._stir.set()

    async def run(self, pulse: Pulse) -> None:
        """For ever; cancel to stop."""
        loop = asyncio.get_running_loop()
        self._join()
        try:
            while True:
                pulse.renew(LOOK_S)
                self._stir.clear()
                ready = self._session != "" and self._ready()
                if ready:
                    self._say(loop.time())
                    repairs = loop.time() < self._repair_s
                    for dial in self._heard.due(self._linked, loop.time(), self._links(), repairs=repairs):
                        self._dial(*dial)
                soon = not ready or loop.time() <= self._said_s + REPLY_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SOON_S if soon else LOOK_S):
                        await self._stir.wait()
        finally:
            self._sockets.close()

    def _join(self) -> None:
        self._sockets.join(self._present)
        if self._sockets.refusal and not self._said_deaf:
            why = f"nodes on the local network cannot be heard ({self._sockets.refusal})"
            self._on_problem(f"{why}: name them with --connect")
        self._said_deaf = bool(self._sockets.refusal)

    def _say(self, now_s: float) -> None:
        due, asks, links = now_s >= self._say_s, False, self._links()
        if due:
            asks = self._eager < len(PAUSES_S)
            self._say_s = now_s + (PAUSES_S[self._eager] if asks else SAY_S)
            self._eager += asks
        elif not (
            (self._asked and now_s >= self._said_s + ANSWER_S)
            or (self._heard.crowded() and links != self._said_links and now_s >= self._said_s + CHANGED_S)
        ):
            return
        kind: Literal["here", "who"] = "who" if asks else "here"
        self._sockets.send(
            lambda one: encode(
                Beacon(kind, self._fleet, self._node, self._session, self._port_on(one), links)
            )
        )
        if asks:
            self._heard.asked(now_s)
        self._said_s, self._asked, self._said_links = now_s, False, links

    def _arrived(self, data: bytes, address: str) -> None:
        beacon = decode(data)
        if beacon is None or beacon.fleet != self._fleet or beacon.session == self._session:
            return
        new = self._heard.hear(beacon, address, asyncio.get_running_loop().time())
        self._asked |= beacon.kind == "who"
        if new or self._asked:
            self._stir.set()
