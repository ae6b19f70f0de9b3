"""Chooses the timings of a node's links by what was measured, with `profile = "auto"`.

When it asks and how long it believes (the watchdog's timings) follow at once.  The engine's own hold for a
whole session, and opening another one means a handshake with every neighbour (13 kB a link).  So these take
effect with the next session: the choice is kept for the next start, and for when a session is opened
anyway.  A node that has reached nobody at all after a while has nothing to lose: it opens its session again
with the patient timings, as a handshake takes 15 s at 9.6 kbit/s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from muster.network.supervisor import Pulse
from muster.network.transport.zenoh.config import (
    LAN,
    NARROW,
    NARROW_BITS_S,
    PROFILES,
    LinkProfile,
    profile_for,
)
from muster.protocol.ids import NodeId

LOOK_S = 5.0
ALONE_S = 60.0  # without ever having met anybody
RENEW_S = 60.0  # that a new session may take
WIDE_AGAIN = 1.5  # times the limit: then links that were narrow are so no more
KEY = "profile"  # of the store's state


@dataclass(frozen=True)
class ProfileChoice:
    """The timings to go on with, and whether they are worth a new session."""

    profile: LinkProfile
    renew: bool = False  # open the session again now


def at_start(configured: str, remembered: bytes | None) -> LinkProfile:
    """The profile of the first session: as configured; for "auto" what was measured in an earlier life."""
    if configured in PROFILES:
        return PROFILES[configured]
    return PROFILES.get((remembered or b"").decode(errors="replace"), LAN)


def choose(current: LinkProfile, rates_bytes_s: Sequence[float], alone_s: float | None) -> ProfileChoice:
    """The profile to go on with. `alone_s`: since the start, if no neighbour was ever met, else None.

    >>> choose(LAN, [1200.0, 1e6], None).profile.name
    'narrow'
    >>> choose(LAN, [], 61.0).renew
    True
    """
    if alone_s is not None and alone_s >= ALONE_S and current is LAN:
        return ProfileChoice(NARROW, renew=True)
    if not rates_bytes_s:
        return ProfileChoice(current)
    slowest_bits_s = 8 * min(rates_bytes_s)
    if current is NARROW and slowest_bits_s < WIDE_AGAIN * NARROW_BITS_S:
        return ProfileChoice(NARROW)  # not to and fro about the limit
    return ProfileChoice(profile_for(slowest_bits_s))


class AdaptedLink(Protocol):
    """What is needed of a link."""

    profile: LinkProfile

    def neighbours(self) -> Iterable[NodeId]: ...

    def adopt(self, profile: LinkProfile) -> None: ...

    async def renew(self) -> None: ...


async def adapt(
    pulse: Pulse,
    link: AdaptedLink,
    rate_bytes_s: Callable[[NodeId], float | None],
    chosen: Callable[[LinkProfile], None],
) -> None:
    """Every `LOOK_S`, for ever: adopt the profile that fits, and tell `chosen` of each change."""
    loop = asyncio.get_running_loop()
    began_s, met = loop.time(), False
    while True:
        pulse.renew(LOOK_S)
        await asyncio.sleep(LOOK_S)
        neighbours = list(link.neighbours())
        met = met or bool(neighbours)
        rates = [rate for node in neighbours if (rate := rate_bytes_s(node)) is not None]
        choice = choose(link.profile, rates, None if met else loop.time() - began_s)
        if choice.profile is not link.profile:
            link.adopt(choice.profile)
            chosen(choice.profile)
        if choice.renew:
            pulse.renew(RENEW_S)
            await link.renew()
