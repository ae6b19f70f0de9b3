"""Kinds of links that people know, as parameters: what a click sets on a link."""

from __future__ import annotations

import msgspec

from muster.dashboard.http.requests import Drop, LinkParameters

SCENARIO = "scenario"  # not in the list: the link as the scenario has it


class Preset(msgspec.Struct, frozen=True):
    """A kind of link: what a click sets in both directions."""

    id: str
    name: str
    text: str
    there: LinkParameters
    back: LinkParameters
    drop: Drop | None = None


def _both(
    key: str,
    name: str,
    text: str,
    there: LinkParameters,
    back: LinkParameters | None = None,
    drop: Drop | None = None,
) -> Preset:
    return Preset(key, name, text, there, back or there, drop)


# Orders of magnitude from common experience; not a radio model.
PRESETS = (
    _both("lan", "LAN", "20 Mbit/s, 2 ms", LinkParameters(20_000, 2, 0, 0)),
    _both("lora", "LoRa-like", "9.6 kbit/s, 300 ms, 2 % loss", LinkParameters(9.6, 300, 50, 0.02)),
    _both("2g", "2G", "80 kbit/s down, 40 up, 350 ms, 1 % loss", LinkParameters(80, 350, 100, 0.01),
          LinkParameters(40, 350, 100, 0.01)),
    _both("satellite", "Satellite", "2 Mbit/s down, 512 kbit/s up, 280 ms, 0.5 % loss",
          LinkParameters(2000, 280, 10, 0.005), LinkParameters(512, 280, 10, 0.005)),
    _both("vpn", "VPN that drops every hour", "10 Mbit/s, 30 ms; gone for a minute every hour, first in 15 s",
          LinkParameters(10_000, 30, 5, 0.001), drop=Drop(3600, 60, 15)),
)  # fmt: skip
