"""`codec = "auto"`: which codec a node uses for its next message, as a pure rule over what was measured.

The ladder goes from few bytes to many.  Three things move along it:

* *time*: a message may take at most SHARE of the time there is.  It caps the rung, whatever else is wanted;
* *free*: bytes that take less than FREE of the time there is save nothing by being fewer, so the densest such
  rung is the floor (on a LAN that is fp16, on a field link nothing);
* *error*: with error feedback the backlog |residual| / |delta| of the last messages says how many updates'
  worth of change waits to be sent.  Above BACKLOG_HIGH one rung more, below BACKLOG_LOW one less, so that
  the density follows the training and not the user's guess.

Sparse ternary is the only sparse rung: at equal bytes it beat 4-bit values in our runs (science.md 12.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from muster.compression.codec import CodecError
from muster.compression.families import parse

LADDER = (
    "stc:0.0025",
    "stc:0.005",
    "stc:0.01",
    "stc:0.02",
    "stc:0.05",
    "stc:0.1",
    "quant4",
    "quant8",
    "dense16",
)
START = "stc:0.02"
SHARE = 0.5  # of the time there is that one message may take
FREE = 0.01
BACKLOG_HIGH = 32.0  # 1 % ran at 19 with two classes a node and did no worse for its bytes than 2 %
BACKLOG_LOW = 1.5
LAST = 3  # messages whose figures count


@dataclass(frozen=True)
class Sample:
    """What the last message was like. Euclidean norms: of the update before the residual joined it, and of
    the residual that stayed behind."""

    codec: str
    size_bytes: int
    delta_norm: float
    residual_norm: float


@dataclass(frozen=True)
class Choice:
    """The codec's name, what it is forecast to cost, and the reason in one sentence."""

    codec: str
    size_bytes: int
    seconds: float  # forecast of the transfer; infinite when nothing is known to get through
    why: str


def choose(
    size: int, goodput_bytes_s: float | None, available_s: float, last: Sequence[Sample] = ()
) -> Choice:
    """The codec for a message of `size` weights over a link of `goodput_bytes_s` (None: not measured), with
    `available_s` to go; `last` are this sender's messages of the job, newest last.  Raises CodecError."""
    if size < 0 or not available_s >= 0 or (goodput_bytes_s is not None and not goodput_bytes_s >= 0):
        raise CodecError("size, goodput and time must be numbers that are not negative")
    costs = [parse(name).estimate_bytes(size) for name in LADDER]
    recent = list(last)[-LAST:]
    rung, why = _by_error(recent)
    if goodput_bytes_s is None:
        return _choice(rung, costs, math.inf, f"{why}; the link is not measured yet")
    budget = goodput_bytes_s * available_s
    free = _densest(costs, budget * FREE)
    if free is not None and free > rung:
        rung, why = (
            free,
            f"its {costs[free]} bytes take less than {FREE:.0%} of the {available_s:.3g} s there are",
        )
    fits = _densest(costs, budget * SHARE)
    if fits is None:
        rung = min(range(len(costs)), key=costs.__getitem__)
        why = f"even the smallest message takes more than {SHARE:.0%} of the {available_s:.3g} s there are"
    elif fits < rung:
        why = f"denser would take more than {SHARE:.0%} of the {available_s:.3g} s there are ({why})"
        rung = fits
    seconds = costs[rung] / goodput_bytes_s if goodput_bytes_s else math.inf
    return _choice(rung, costs, seconds, why)


def review(choice: Choice, size_bytes: int, seconds: float) -> str:
    """Forecast beside outcome, for `muster log --why`."""
    return (
        f"{choice.codec}: {size_bytes} bytes in {seconds:.3g} s, "
        f"forecast {choice.size_bytes} bytes in {choice.seconds:.3g} s ({choice.why})"
    )


def backlog(samples: Sequence[Sample]) -> float:
    """Updates' worth of change that wait: the residual's norm over the median update's norm."""
    norms = sorted(sample.delta_norm for sample in samples)
    typical = norms[len(norms) // 2] if norms else 0.0
    return samples[-1].residual_norm / typical if typical > 0 else 0.0


def _by_error(recent: Sequence[Sample]) -> tuple[int, str]:
    if not recent or recent[-1].codec not in LADDER:
        return LADDER.index(START), "the start of a job"
    now = LADDER.index(recent[-1].codec)
    waiting = backlog(recent)
    text = f"{waiting:.1f} updates' worth of change waits"
    settled = len(recent) == LAST and len({sample.codec for sample in recent}) == 1
    if waiting > BACKLOG_HIGH and settled:
        return min(now + 1, len(LADDER) - 1), f"{text}, more than {BACKLOG_HIGH:g}: denser"
    if waiting < BACKLOG_LOW and settled:
        return max(now - 1, 0), f"{text}, less than {BACKLOG_LOW:g}: sparser"
    return now, f"{text}: as before"


def _densest(costs: Sequence[int], budget_bytes: float) -> int | None:
    """The last rung whose message fits."""
    fitting = [i for i, cost in enumerate(costs) if cost <= budget_bytes]
    return fitting[-1] if fitting else None


def _choice(rung: int, costs: Sequence[int], seconds: float, why: str) -> Choice:
    return Choice(LADDER[rung], costs[rung], seconds, f"{LADDER[rung]} because {why}")
