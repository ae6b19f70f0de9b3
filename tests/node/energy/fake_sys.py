"""A /sys with counters and batteries, as files in a folder."""

from __future__ import annotations

from pathlib import Path


class FakeSys:
    def __init__(self, root: Path) -> None:
        self.powercap, self.power_supply = root / "powercap", root / "power_supply"
        self.powercap.mkdir()
        self.power_supply.mkdir()

    def zone(self, folder: str, name: str, energy_uj: int, range_uj: int = 10**12) -> Path:
        zone = self.powercap / folder
        zone.mkdir(exist_ok=True)
        (zone / "name").write_text(name + "\n")
        (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
        (zone / "energy_uj").write_text(f"{energy_uj}\n")
        return zone / "energy_uj"

    def battery(self, folder: str = "BAT0", **values: object) -> Path:
        """Files of a supply; what is given again is written again."""
        supply = self.power_supply / folder
        if not supply.exists():
            supply.mkdir()
            values = {"type": "Battery"} | values
        for name, value in values.items():
            (supply / name).write_text(f"{value}\n")
        return supply
