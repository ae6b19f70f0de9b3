"""Watts of common machines and joules of common radios, each with where it is from.

A figure whose source says "assumed" is of the right order and no more: measure your own machine with a meter
at its plug where it matters, and write what you find into node.toml.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A machine's watts: awake and doing nothing, and what each busy core adds."""

    idle_w: float
    core_w: float
    cores: int
    source: str

    def train_w(self, threads: int) -> float:
        """While so many threads compute."""
        return round(self.idle_w + self.core_w * min(threads, self.cores), 3)


@dataclass(frozen=True)
class Radio:
    """Joules of a byte, and those that the radio takes to fall asleep again in the `tail_s` after its last
    byte."""

    sent_j_byte: float = 0.0
    received_j_byte: float = 0.0
    exchange_j: float = 0.0
    tail_s: float = 1.0
    source: str = ""


_DRAMBLE = "measured at the plug by pidramble.com (idle; four busy cores, shared out evenly)"

MACHINES = {
    "pi-zero": Machine(0.6, 0.6, 1, "Zero W: idle as often reported (0.12 A at 5 V), the core assumed"),
    "pi-zero-2": Machine(0.6, 0.5, 4, "idle measured by CNX Software, 2021; a core assumed"),
    "pi3": Machine(1.9, 0.8, 4, f"3 B+, {_DRAMBLE}: 1.9 W, 5.1 W"),
    "pi4": Machine(2.7, 0.925, 4, f"4 B, {_DRAMBLE}: 2.7 W, 6.4 W"),
    "pi5": Machine(3.0, 1.3, 4, "assumed"),
    "jetson-nano": Machine(2.0, 1.0, 4, "assumed, without its GPU"),
    "phone": Machine(0.4, 0.7, 8, "assumed, screen off"),
    "laptop": Machine(8.0, 7.0, 8, "assumed, screen on"),
    "desktop": Machine(45.0, 15.0, 16, "assumed"),
}

RADIOS = {
    "ethernet": Radio(source="in the machine's idle watts"),
    "wifi": Radio(3e-6, 3e-6, 0.05, 0.2, "assumed"),
    "lte": Radio(5e-6, 5e-6, 6.0, 10.0, "assumed; that the tail rules: Huang et al., MobiSys 2012"),
    "lora": Radio(
        6e-4,
        6e-5,
        source="from the SX1276's data sheet: 120 mA and 12 mA at 3.3 V, SF7 in 125 kHz: 5.5 kbit/s",
    ),
}
