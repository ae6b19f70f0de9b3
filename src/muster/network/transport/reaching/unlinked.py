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
UNLINKED_S = 20.0  # an endpoint without a link for so long is looked at ...
AGAIN_MAX_S = 300.0  # ... and again after twice as long each time, up to this


@dataclass
class Silent:
    """A configured endpoint that has no link now."""

    since_s: float  # loop times
    next_s: float
    pause_s: float = UNLINKED_S
    reason: Reason | None = None  # as it was said


class UnlinkedEndpoints:
    """`ends()`: the far ends of all links, by address or by the name that was dialled; their sessions."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        ends: Callable[[], Awaitable[Mapping[Endpoint, str]]],
        on_problem: Callable[[str], None],
        *,
        facts: Callable[[Endpoint], Awaitable[Facts]] = facts_of,
        addresses: Callable[[Endpoint], Awaitable[Collection[str]]] = addresses_of,
    ) -> None:
        self._endpoints, self._ends, self._on_problem = endpoints, ends, on_problem
        self._facts, self._addresses = facts, addresses
        self._silent: dict[Endpoint, Silent] = {}
        self.sessions: dict[Endpoint, str] = {}  # to which links lead, or led until a while ago

    def reasons(self) -> dict[Endpoint, Reason]:
        """Those that have no link, and why; as far as it was looked at."""
        return {point: silent.reason for point, silent in self._silent.items() if silent.reason is not None}

    def silent_s(self) -> dict[Endpoint, float]:
        """For how long they have had no link."""
        now_s = asyncio.get_running_loop().time()
        return {point: now_s - silent.since_s for point, silent in self._silent.items()}

    async def run(self, pulse: Pulse) -> None:
        """For ever; cancel to stop."""
        explaining: asyncio.Task[None] | None = None  # for some seconds, beside the next looks
        try:
            while self._endpoints:
                pulse.renew(LOOK_S + len(self._endpoints) * RESOLVE_S_MAX)
                await asyncio.sleep(LOOK_S)
                missing, now_s = await self.unlinked(), asyncio.get_running_loop().time()
                self._silent = {p: self._silent.get(p) or Silent(now_s, now_s + UNLINKED_S) for p in missing}
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
        before, silent.reason = silent.reason, why_unreachable(await self._facts(point))
        silent.pause_s = min(AGAIN_MAX_S, 2 * silent.pause_s)
        silent.next_s = asyncio.get_running_loop().time() + silent.pause_s
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
