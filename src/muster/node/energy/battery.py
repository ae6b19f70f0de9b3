"""Reads battery gauges from /sys/class/power_supply: the charge, and what is drawn from it.

While a battery is charged or full the mains feed the machine, and nobody knows what it uses.  Files are read
beside the event loop (`refresh`): the firmware that answers may take some ten milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POWER_SUPPLY = Path("/sys/class/power_supply")
SETTLES_S = 10.0  # gauges average over some seconds
STALE_S = 60.0  # a reading that is older says nothing


class Gauge:
    """All batteries that feed this machine; those of a mouse do not."""

    settles_s = SETTLES_S

    def __init__(self, root: Path = POWER_SUPPLY, now: Callable[[], float] = time.monotonic) -> None:
        self._root, self._now = root, now
        self.name = ""  # "" where there is no battery
        self._level: float | None = None
        self._watts: float | None = None
        self._read_s = now()
        self._left_j: tuple[float, float] | None = None  # when, and what was left: of gauges without watts
        self.refresh()

    def level(self) -> float | None:
        """The charge, 0..1; None where there is no battery."""
        return self._level

    def used_j(self, elapsed_s: float, training: float) -> float | None:
        if self._watts is None or self._now() - self._read_s > STALE_S:
            return None
        return self._watts * elapsed_s

    def refresh(self) -> None:
        """Read all batteries. One that vanished is not there any more."""
        batteries = [s for s in sorted(self._root.glob("*")) if _feeds_machine(s)]
        if batteries:
            self.name = f"the battery's gauge ({', '.join(s.name for s in batteries)})"
        levels = [level for s in batteries if (level := _number(s, "capacity")) is not None]
        self._level = min(1.0, max(0.0, levels[0] / 100)) if levels else None
        self._watts, self._read_s = self._drawn_w(batteries), self._now()

    def _drawn_w(self, batteries: list[Path]) -> float | None:
        """What is drawn from all of them now; None while the mains feed the machine."""
        feeding = [s for s in batteries if _text(s, "status") == "Discharging"]
        if not feeding or any(_text(s, "status") == "Charging" for s in batteries):
            self._left_j = None
            return None
        watts = [_watts(s) for s in feeding]
        known = [w for w in watts if w is not None]
        return sum(known) if len(known) == len(watts) else self._fall_w(feeding)

    def _fall_w(self, feeding: list[Path]) -> float | None:
        """By how fast what is left falls: for gauges that say no watts. They move in steps, so it is the mean
        from one step to the next."""
        parts = [_left_j(s) for s in feeding]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        left_j, now_s, before = sum(known), self._now(), self._left_j
        if before is None or left_j > before[1]:
            self._left_j = (now_s, left_j)
            return None
        if left_j == before[1] or now_s <= before[0]:
            return self._watts
        self._left_j = (now_s, left_j)
        return (before[1] - left_j) / (now_s - before[0])


def _feeds_machine(supply: Path) -> bool:
    return _text(supply, "type") in ("Battery", "UPS") and _text(supply, "scope") != "Device"


def _watts(supply: Path) -> float | None:
    """What a battery gives, of either sign in the file."""
    power_uw = _number(supply, "power_now")
    if power_uw is not None:
        return abs(power_uw) / 1e6
    current_ua, voltage_uv = _number(supply, "current_now"), _number(supply, "voltage_now")
    return None if current_ua is None or voltage_uv is None else abs(current_ua) * voltage_uv / 1e12


def _left_j(supply: Path) -> float | None:
    """What is left in a battery."""
    energy_uwh = _number(supply, "energy_now")
    if energy_uwh is not None:
        return energy_uwh * 3600 / 1e6
    charge_uah, voltage_uv = _number(supply, "charge_now"), _number(supply, "voltage_now")
    return None if charge_uah is None or voltage_uv is None else charge_uah * voltage_uv * 3600 / 1e12


def _text(supply: Path, name: str) -> str:
    try:
        return (supply / name).read_text().strip()
    except (OSError, ValueError):
        return ""


def _number(supply: Path, name: str) -> float | None:
    try:
        return float(_text(supply, name))
    except ValueError:
        return None
