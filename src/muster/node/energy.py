"""Measures the battery's charge: by the device's gauge, or by a model where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

POWER_SUPPLY = Path("/sys/class/power_supply")
TRAINING_STATES = ("training",)


class DeviceStatus(Protocol):
    """What the node is doing."""

    @property
    def state(self) -> str: ...


class EnergyModel:
    """A battery of `capacity_j` that drains by `idle_w` and, while training, by `train_w`."""

    def __init__(
        self,
        capacity_j: float,
        idle_w: float,
        train_w: float,
        now: Callable[[], float],
        status: DeviceStatus,
    ) -> None:
        self._capacity_j, self._idle_w, self._train_w = capacity_j, idle_w, train_w
        self._now, self._status = now, status
        self._left_j = capacity_j
        self._at_s = now()

    def level(self) -> float:
        """The charge now, 0..1."""
        now_s = self._now()
        watts = self._train_w if self._status.state in TRAINING_STATES else self._idle_w
        self._left_j = max(0.0, self._left_j - watts * (now_s - self._at_s))
        self._at_s = now_s
        return self._left_j / self._capacity_j


def gauge() -> float | None:
    """The charge of this machine's first battery, 0..1; None on mains or where nothing can be read."""
    for supply in sorted(POWER_SUPPLY.glob("*/capacity")):
        try:
            return min(1.0, max(0.0, int(supply.read_text()) / 100))
        except (OSError, ValueError):
            continue
    return None
