"""Watches the configured endpoints, and says why one has no link: once, and again when the reason changes.

The engine dials for ever and says nothing.  It resolves a name before each attempt, so that a host with a new
address is found by its name; here it is resolved to know whether one of the links leads to it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from muster.network.supervisor import Pulse
from muster.network.transport.endpoints import Endpoint
from muster.network.transport.reaching.probing import facts_of
from muster.network.transport.reaching.resolving import RESOLVE_S_MAX, addresses_of
from muster.network.transport.reaching.why import Facts, Reason, why_unreachable

LOOK_S = 5.0
AGAIN_MAX_S = 300.0  # between two looks at the same endpoint


@dataclass
class Silent:
    """A configured endpoint that has no link now."""

    next_s: float  # when it is looked at, as loop time
    pause_s: float  # until the look after that; it doubles
    reason: Reason | None = None  # as it was said
    answers: bool = False  # a node was there at the last look: its handshake may go on


class UnlinkedEndpoints:
    """`ends()`: the far ends of all links, by address or by the name that was dialled; their sessions.

    An endpoint without a link for `after_s` is looked at: longer than a handshake takes.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        ends: Callable[[], Awaitable[Mapping[Endpoint, str]]],
        on_problem: Callable[[str], None],
        *,
        after_s: float,
        facts: Callable[[Endpoint], Awaitable[Facts]] = facts_of,
        addresses: Callable[[Endpoint], Awaitable[Collection[str]]] = addresses_of,
    ) -> None:
        self._endpoints, self._ends, self._on_problem = endpoints, ends, on_problem
        self._after_s, self._facts, self._addresses = after_s, facts, addresses
        self._silent: dict[Endpoint, Silent] = {}
        self.sessions: dict[Endpoint, str] = {}  # to which links lead, or led until a while ago

    def reasons(self) -> dict[Endpoint, Reason]:
        """Those that have no link, and why; as far as it was looked at."""
        return {point: silent.reason for point, silent in self._silent.items() if silent.reason is not None}

    async def run(self, pulse: Pulse) -> None:
        """For ever; cancel to stop."""
        explaining: asyncio.Task[None] | None = None  # for some seconds, beside the next looks
        try:
            while self._endpoints:
                pulse.renew(LOOK_S + len(self._endpoints) * RESOLVE_S_MAX)
                await asyncio.sleep(LOOK_S)
                missing, now_s = await self.unlinked(), asyncio.get_running_loop().time()
                begun = (now_s + self._after_s, self._after_s)
                self._silent = {point: self._silent.get(point) or Silent(*begun) for point in missing}
                if explaining is not None and explaining.done():
                    explaining = explaining.result()
                due = [point for point, silent in self._silent.items() if now_s >= silent.next_s]
                if due and explaining is None:
                    explaining = asyncio.ensure_future(self._explain(due[0], self._silent[due[0]]))
        finally:
            if explaining is not None:
                explaining.cancel()

    async def unlinked(self) -> list[Endpoint]:
        """The configured endpoints to which no link leads, by whatever name."""
        ends = await self._ends()
        hosts = {plain(end.host): session for end, session in ends.items()}
        missing = []
        for point in self._endpoints:
            session = ends.get(point) or hosts.get(plain(point.host))
            if session is None and point.address is None:
                addresses = [plain(address) for address in await self._addresses(point)]
                session = next((hosts[address] for address in addresses if address in hosts), None)
            if session is None:
                missing.append(point)
            else:
                self.sessions[point] = session
        return missing

    async def _explain(self, point: Endpoint, silent: Silent) -> None:
        facts = await self._facts(point)
        silent.next_s = asyncio.get_running_loop().time() + silent.pause_s
        if facts.udp == "answers" and not silent.answers:
            silent.answers = True  # if it is so the next time as well, it lets nobody in
            return
        silent.answers = facts.udp == "answers"
        silent.pause_s = min(AGAIN_MAX_S, 2 * silent.pause_s)
        before, silent.reason = silent.reason, why_unreachable(facts)
        if before is None or before.kind != silent.reason.kind:
            self._on_problem(f"no link to {point}: {silent.reason.sentence}; it is tried again all the time")


def plain(host: str) -> str:
    """An address in its one form, without the interface and as IPv4 where it is one; a name as it is.

    >>> plain("::ffff:10.0.0.1"), plain("FD00:0::1"), plain("fe80::1%eth0"), plain("gate.local")
    ('10.0.0.1', 'fd00::1', 'fe80::1', 'gate.local')
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower()
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
