"""What the way to a node is like, from what rounds took: pure functions.

A trip is what a round cost a node beside its steps: so many bytes to it and back, so many seconds.  Trips of
different sizes tell the way's goodput from its latency (Theil-Sen: the median of the slopes between pairs,
which a few delayed trips do not move); trips of one size do not, and what the node measured when it
fetched the model stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

LAST = 12  # trips that count
SPREAD = 2.0  # the largest trip over the smallest, from where on their sizes tell anything
SECONDS_MIN = 0.02  # shorter differences are noise


@dataclass(frozen=True)
class Trip:
    size_bytes: int  # to the node and back
    seconds: float


@dataclass(frozen=True)
class Way:
    latency_s: float
    goodput_bytes_s: float | None  # None: not known


def fit(trips: Sequence[Trip], reported_bytes_s: float | None) -> Way:
    """The way to a node after `trips`, newest last; `reported_bytes_s` is what the node itself measured."""
    recent = list(trips)[-LAST:]
    if not recent:
        return Way(0.0, reported_bytes_s)
    goodput = _slope(recent) or reported_bytes_s
    latency_s = median(_rest_s(trip, goodput) for trip in recent)
    if goodput is None:
        return Way(latency_s, None)
    # A way that got worse shows in the newest trips first: what they took beyond the latency, bytes took.
    shortest_s = min(_rest_s(trip, goodput) for trip in recent)
    newest = [_goodput(trip, shortest_s) for trip in recent[-3:]]
    if len(newest) == 3 and latency_s > 3 * shortest_s + 1.0:
        goodput, latency_s = min(goodput, median(newest)), shortest_s
    return Way(latency_s, goodput)


def _slope(trips: Sequence[Trip]) -> float | None:
    """Bytes a second; None when the sizes are too much alike, or larger trips took no longer."""
    sizes = [trip.size_bytes for trip in trips]
    if max(sizes) < SPREAD * max(1, min(sizes)):
        return None
    slopes = [
        (b.seconds - a.seconds) / (b.size_bytes - a.size_bytes)
        for i, a in enumerate(trips)
        for b in trips[i + 1 :]
        if max(a.size_bytes, b.size_bytes) >= SPREAD * max(1, min(a.size_bytes, b.size_bytes))
    ]
    seconds_a_byte = median(slopes)
    return 1.0 / seconds_a_byte if seconds_a_byte * max(sizes) > SECONDS_MIN else None


def _rest_s(trip: Trip, goodput_bytes_s: float | None) -> float:
    return max(0.0, trip.seconds - (trip.size_bytes / goodput_bytes_s if goodput_bytes_s else 0.0))


def _goodput(trip: Trip, latency_s: float) -> float:
    return trip.size_bytes / max(SECONDS_MIN, trip.seconds - latency_s)
