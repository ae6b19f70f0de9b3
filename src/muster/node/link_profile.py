"""Chooses the timings of a node's links by what was measured, with `profile = "auto"`.

The engine's timings hold for a whole session, and opening another one means a handshake with every neighbour
(13 kB a link).  So what was measured takes effect with the next session: it is kept for the
next start, and for when the watchdog opens one.  A node that has reached nobody at all after a while has
nothing to lose: it opens its session again with the patient timings, as a handshake takes 15 s at 9.6 kbit/s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muster.network.transport.zenoh.config import LAN, NARROW, PROFILES, LinkProfile, profile_for

LOOK_S = 5.0
ALONE_S = 60.0  # without ever having met anybody
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
    if rates_bytes_s:
        return ProfileChoice(profile_for(8 * min(rates_bytes_s)))
    return ProfileChoice(current)
