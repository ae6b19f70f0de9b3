"""Reads RAPL, the energy counters of x86 processors, from /sys/class/powercap.

A zone counts microjoules up to `max_energy_range_uj` and begins again at 0.  Where there is a zone "psys" it
counts the whole machine; else packages count, and their memory beside them (cores and graphics are parts of
a package).  Since Linux 5.10 only root may read the counters unless the owner allows it (docs/energy.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
SETTLES_S = 0.2  # the counters move each millisecond
WATTS_MAX = 2000.0  # of a zone: beyond it the counter was reset, as by a suspension, and did not wrap
_ZONE = re.compile(
    r"intel-rapl:\d+(:\d+)?"
)  # AMD's have the same names; intel-rapl-mmio counts the same again


class Zone:
    """One counter. Raises OSError or ValueError when made where it cannot be read."""

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self._range_uj = int((folder / "max_energy_range_uj").read_text())
        self._last_uj: int | None = self._read()

    def _read(self) -> int:
        return int(self._counter.read_text())

    def used_j(self, elapsed_s: float) -> float | None:
        """Since the last question; None where the counter cannot be read or was reset meanwhile."""
        before = self._last_uj
        try:
            self._last_uj = now = self._read()
        except (OSError, ValueError):
            self._last_uj = None
            return None
        if before is None:
            return None
        used_j = (now - before if now >= before else now - before + self._range_uj) / 1e6
        return used_j if used_j <= WATTS_MAX * max(elapsed_s, 0.01) else None


class Rapl:
    """All zones of this machine that count something of their own."""

    settles_s = SETTLES_S

    def __init__(self, zones: dict[str, Zone]) -> None:
        """By their names."""
        self._zones = zones
        self.name = f"RAPL ({', '.join(zones)})"

    def used_j(self, elapsed_s: float, training: float) -> float | None:
        parts = [zone.used_j(elapsed_s) for zone in self._zones.values()]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


def find(root: Path = POWERCAP) -> tuple[Rapl | None, str]:
    """The machine's RAPL, or why there is none."""
    names = dict(_names(root))
    if not names:
        return None, "this machine has no RAPL"
    whole = [folder for folder, name in names.items() if name == "psys"]
    parts = [f for f, n in names.items() if n.startswith("package") or n == "dram"]
    zones: dict[str, Zone] = {}
    for folder in whole or parts:
        try:
            zones[_called(folder, names)] = Zone(folder)
        except PermissionError:
            return None, f"{folder}/energy_uj may be read by root only (docs/energy.md says how to allow it)"
        except (OSError, ValueError) as error:
            return None, f"RAPL cannot be read: {error}"
    return (Rapl(zones), "") if zones else (None, "RAPL counts neither the machine nor a package here")


def _names(root: Path) -> Iterator[tuple[Path, str]]:
    for folder in sorted(root.glob("intel-rapl:*")):
        if _ZONE.fullmatch(folder.name):
            try:
                yield folder, (folder / "name").read_text().strip()
            except OSError:
                continue


def _called(folder: Path, names: dict[Path, str]) -> str:
    """A zone's name; memory is called after its package."""
    name = names[folder]
    package = folder.parent / folder.name.rpartition(":")[0]
    return f"{names.get(package, 'package')} {name}" if name == "dram" else name
