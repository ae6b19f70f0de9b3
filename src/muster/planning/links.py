"""What the way to a node is like, from what rounds took: pure functions.

A trip is what a round cost a node beside its steps: so many bytes to it and back, so many seconds.  Trips of
different sizes tell the way's goodput from its latency (Theil-Sen: the median of the slopes between pairs,
which a few delayed trips do not move); trips of one size do not, and what the node measured when it
fetched the model stands in.  Where there is no such measurement, trips tell at least how much a way carries,
and a probe, a message of another size, tells more: `probe` says when one is due.  As in TCP's slow start each
is larger than the one before, until one takes noticeably longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

LAST = 24  # trips that count; what a probe told is known for so long
SPREAD = 1.6  # the largest trip over the smallest, from where on their sizes tell anything
SECONDS_MIN = 0.02  # shorter differences are noise
NOISE_S = 0.05  # how much longer a trip may take unnoticed, at least
PROBE_AFTER = 2  # trips, of which the shorter one is hardly disturbed
PROBE_STEP = 1.5  # a probe is so many times as large as the one before
# What it may cost more, at worst: so many of the round's other times, and no more seconds. With LAST that is
# few per cent of the job; a commit that is a probe costs everybody's time.
PROBE_ROUNDS, PROBE_ALL_ROUNDS, PROBE_S = 2.0, 0.5, 1.0


@dataclass(frozen=True)
class TransferSample:
    size_bytes: int  # to the node and back
    seconds: float


@dataclass(frozen=True)
class LinkEstimate:
    latency_s: float
    goodput_bytes_s: float | None  # None: not known
    at_least_bytes_s: float | None = None  # where it is not known: what trips have shown

    def floor_bytes_s(self) -> float | None:
        """What it carries, at least."""
        return self.at_least_bytes_s if self.goodput_bytes_s is None else self.goodput_bytes_s


@dataclass(frozen=True)
class Probe:
    """A message to learn from: a trip of more bytes than `over` and at most `most`; or, where that would take
    too long, one of fewer than `under`."""

    over: float
    most: float
    under: float


def fit(trips: Sequence[TransferSample], reported_bytes_s: float | None) -> LinkEstimate:
    """The way to a node after `trips`, newest last; `reported_bytes_s` is what the node itself measured."""
    recent = list(trips)[-LAST:]
    if not recent:
        return LinkEstimate(0.0, reported_bytes_s)
    goodput = _slope(recent) or reported_bytes_s
    latency_s = median(_rest_s(trip, goodput) for trip in recent)
    if goodput is None:
        return LinkEstimate(latency_s, None, _at_least(recent))
    # A way that got worse shows in the newest trips first: what they took beyond the latency, bytes took.
    shortest_s = min(_rest_s(trip, goodput) for trip in recent)
    newest = [_goodput(trip, shortest_s) for trip in recent[-3:]]
    if len(newest) == 3 and latency_s > 3 * shortest_s + 1.0:
        goodput, latency_s = min(goodput, median(newest)), shortest_s
    return LinkEstimate(latency_s, goodput)


def probe(
    trips: Sequence[TransferSample], way: LinkEstimate, other_s: float, *, for_all: bool = False
) -> Probe | None:
    """Whether the next message over a way shall be of another size than it would be, to measure it; `other_s`
    is what the round takes besides; `for_all`: the message is a commit.

    Not where the goodput is known.  What was learnt is forgotten after LAST trips, so that a way which got
    better is found out, too.
    """
    recent = list(trips)[-LAST:]
    if len(recent) < PROBE_AFTER or way.goodput_bytes_s is not None or not way.at_least_bytes_s:
        return None
    sizes = [trip.size_bytes for trip in recent]
    told = SPREAD * median(sizes)
    if max(sizes) >= told:  # as much was sent already, and told no end of what the way carries
        told = PROBE_STEP * max(sizes)
    extra_s = extra_for_all_s(other_s) if for_all else min(PROBE_S, PROBE_ROUNDS * other_s)
    shortest_s = min(trip.seconds for trip in recent if trip.size_bytes == max(sizes))
    return Probe(
        told,
        (shortest_s + extra_s) * way.at_least_bytes_s,
        min(sizes) / SPREAD,
    )


def extra_for_all_s(other_s: float) -> float:
    """What a commit that is a probe may cost more, in a round that takes `other_s` besides."""
    return min(PROBE_S, PROBE_ALL_ROUNDS * other_s)


def _at_least(trips: Sequence[TransferSample]) -> float:
    """Bytes a second that a way carried for sure: whole trips, latency and all; or what the larger ones took
    beyond the smaller ones, of which one may have been delayed by something else (the first model)."""
    most = max(trip.size_bytes / max(NOISE_S, trip.seconds) for trip in trips)
    largest = max(trip.size_bytes for trip in trips)
    small = [trip for trip in trips if trip.size_bytes * SPREAD <= largest]
    if len(small) < PROBE_AFTER:
        return most
    quick = min(small, key=lambda trip: trip.seconds)
    large = min((t for t in trips if t.size_bytes * SPREAD > largest), key=lambda trip: trip.seconds)
    beyond_s = max(0.0, large.seconds - quick.seconds)
    return max(most, (large.size_bytes - quick.size_bytes) / (NOISE_S + beyond_s))


def _slope(trips: Sequence[TransferSample]) -> float | None:
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
    told_s = seconds_a_byte * (max(sizes) - min(sizes))
    return 1.0 / seconds_a_byte if told_s > max(SECONDS_MIN, _noise_s(trips)) else None


def _noise_s(trips: Sequence[TransferSample]) -> float:
    """By how much trips of like sizes differ: the median distance from the median of their size."""
    off: list[float] = []
    for trip in trips:
        alike = [
            t.seconds for t in trips if t.size_bytes < SPREAD * trip.size_bytes < SPREAD**2 * t.size_bytes
        ]
        if len(alike) > 1:
            off.append(abs(trip.seconds - median(alike)))
    return median(off) if off else 0.0


def _rest_s(trip: TransferSample, goodput_bytes_s: float | None) -> float:
    return max(0.0, trip.seconds - (trip.size_bytes / goodput_bytes_s if goodput_bytes_s else 0.0))


def _goodput(trip: TransferSample, latency_s: float) -> float:
    return trip.size_bytes / max(SECONDS_MIN, trip.seconds - latency_s)
