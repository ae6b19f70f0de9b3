"""Meters behind one interface: what was used in the time since the last question.

Each question covers a time in which the machine either trained or did not; where its owner lets a job compute
a share of the time only, it trains as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Meter(Protocol):
    """Something that knows what this machine uses."""

    @property
    def name(self) -> str:
        """For people: what is read."""

    @property
    def settles_s(self) -> float:
        """Seconds after which its mean says what the machine draws; 0: it is known beforehand."""

    def used_j(self, elapsed_s: float, training: float) -> float | None:
        """Joules used in the `elapsed_s` since the last question, in `training` of which (0..1) the trainer
        computed; None: nothing can tell."""


@dataclass(frozen=True)
class PowerModel:
    """Constant watts, by the configuration."""

    idle_w: float
    train_w: float
    name: str = "the power model of node.toml"
    settles_s: float = 0.0

    def used_j(self, elapsed_s: float, training: float) -> float:
        return (self.idle_w + training * (self.train_w - self.idle_w)) * elapsed_s
