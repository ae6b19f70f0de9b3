"""What a round will cost a node, and what a job has left: values and pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from muster.protocol.parts import Power


@dataclass(frozen=True)
class Left:
    """What a job, or one node of it, may still spend; None: there is no limit."""

    rounds: int | None = None
    seconds: float | None = None
    bytes: int | None = None
    joules: float | None = None


UNLIMITED = Left()


@dataclass(frozen=True)
class Usage:
    """What a round takes, as planned."""

    seconds: float
    bytes: int
    joules: float

    def fits(self, left: Left) -> bool:
        """Whether nothing of it is more than is left."""
        return rounds_left(left, self, but_rounds=True)[1] >= 1.0


def rounds_left(left: Left, usage: Usage, *, but_rounds: bool = False) -> tuple[str | None, float]:
    """What binds, a field of `Left`, and how many rounds like `usage` it allows; None: nothing does."""
    found: list[tuple[float, str]] = []
    for name in (f.name for f in fields(Left)):
        limit = getattr(left, name)
        if limit is None or (name == "rounds" and but_rounds):
            continue
        each = 1.0 if name == "rounds" else getattr(usage, name)
        found.append((max(0.0, limit) / each if each else math.inf, name))
    if not found:
        return None, math.inf
    rounds, name = min(found)
    return name, rounds


def joules(power: Power, round_s: float, train_s: float, sent_bytes: int, received_bytes: int) -> float:
    """What a round of `round_s`, of which it trains `train_s`, takes a node that draws so much."""
    waits_s = max(0.0, round_s - train_s)
    radio_j = power.sent_j_byte * sent_bytes + power.received_j_byte * received_bytes + power.exchange_j
    return power.idle_w * waits_s + power.train_w * train_s + radio_j
