"""Bytes and joules as people read them, and as they write them."""

from __future__ import annotations

_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}
WATT_HOUR_J = 3600.0


def size_text(count: float) -> str:
    """831 B, 12.3 kB, 4.56 MB (powers of 1000)."""
    return _scaled(count, ("B", "kB", "MB", "GB"))


def energy_text(joules: float) -> str:
    """0.25 J, 831 J, 12.3 kJ, 4.56 MJ."""
    if 0 < abs(joules) < 9.995:
        return f"{joules:.2g} J"
    return _scaled(joules, ("J", "kJ", "MJ", "GJ"))


def parse_size(text: str) -> float | None:
    """300000, 300kB or 20MB as bytes; None: it is none."""
    return _parsed(text.strip().lower().removesuffix("b"))


def parse_energy(text: str) -> float | None:
    """500, 500J, 12kJ, 1.5MJ or 20Wh as joules; None: it is none."""
    given = text.strip().lower()
    if given.endswith("wh"):
        hours = _parsed(given.removesuffix("wh"))
        return None if hours is None else hours * WATT_HOUR_J
    return _parsed(given.removesuffix("j"))


def _parsed(text: str) -> float | None:
    text = text.strip()
    factor = _UNITS.get(text[-1:], 1.0)
    try:
        return float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        return None


def _scaled(amount: float, units: tuple[str, ...]) -> str:
    for unit in units:
        if abs(amount) < 999.5 or unit == units[-1]:
            break
        amount /= 1000
    if unit == units[0]:
        return f"{amount:.0f} {unit}"
    return f"{amount:.3g} {unit}" if amount < 100 else f"{amount:.0f} {unit}"
