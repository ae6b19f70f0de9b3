"""Estimates latency and goodput of the link to a node from what its rounds took: pure functions.

A transfer sample is what a round cost a node beside its steps: so many bytes to it and back, so many seconds.
Samples of different sizes separate goodput from latency (Theil-Sen: the median of the slopes between pairs,
which a few delayed samples do not move); samples of one size do not, and what the node measured when it
fetched the model stands in.  Where there is no such measurement, samples give a lower bound of the goodput,
and a probe, a message of another size, gives more: `next_probe` says when one is due.  As in TCP's slow start
each is larger than the one before, until one takes noticeably longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

SAMPLES_USED = 24  # the newest ones; what a probe showed is known for so long
SPREAD = 1.6  # largest size over smallest, from which on samples separate goodput from latency
SECONDS_MIN = 0.02  # shorter differences are noise
NOISE_S = 0.05  # how much longer a transfer may take unnoticed, at least
PROBE_AFTER = 2  # samples, of which the shorter one is hardly disturbed
PROBE_STEP = 1.5  # a probe is so many times as large as the one before
# What it may cost more, at worst: so many of the round's compute times, and no more seconds. By SAMPLES_USED
# that is a few per cent of the job; a commit that is a probe costs everybody's time.
PROBE_ROUNDS, PROBE_ALL_ROUNDS, PROBE_S = 2.0, 0.5, 1.0


@dataclass(frozen=True)
class TransferSample:
    """What one round cost a node beside its steps."""

    size_bytes: int  # to the node and back
    seconds: float


@dataclass(frozen=True)
class LinkEstimate:
    """A link as far as its samples show."""

    latency_s: float
    goodput_bytes_s: float | None  # None: not known
    at_least_bytes_s: float | None = None  # where it is not known: what samples have shown

    def floor_bytes_s(self) -> float | None:
        """A lower bound of the goodput; None: not known."""
        return self.at_least_bytes_s if self.goodput_bytes_s is None else self.goodput_bytes_s


@dataclass(frozen=True)
class Probe:
    """Limits of a message that measures the link: a transfer of more bytes than `over` and at most `most`;
    or, where that would take too long, one of fewer than `under`."""

    over: float
    most: float
    under: float


def estimate_link(samples: Sequence[TransferSample], reported_bytes_s: float | None) -> LinkEstimate:
    """The link to a node by `samples`, newest last; `reported_bytes_s` is what the node itself measured."""
    recent = list(samples)[-SAMPLES_USED:]
    if not recent:
        return LinkEstimate(0.0, reported_bytes_s)
    goodput = _slope(recent) or reported_bytes_s
    latency_s = median(_latency_s(sample, goodput) for sample in recent)
    if goodput is None:
        return LinkEstimate(latency_s, None, _at_least(recent))
    # A link that got worse shows in the newest samples: what they took beyond the latency, bytes took.
    shortest_s = min(_latency_s(sample, goodput) for sample in recent)
    newest = [_goodput(sample, shortest_s) for sample in recent[-3:]]
    if len(newest) == 3 and latency_s > 3 * shortest_s + 1.0:
        goodput, latency_s = min(goodput, median(newest)), shortest_s
    return LinkEstimate(latency_s, goodput)


def next_probe(
    samples: Sequence[TransferSample], link: LinkEstimate, compute_s: float, *, for_all: bool = False
) -> Probe | None:
    """Limits for the next message over a link, if it is to be a probe; `compute_s` is what the round takes
    besides; `for_all`: the message is a commit.

    None where the goodput is known.  What was learnt is forgotten after SAMPLES_USED samples, so that a link
    which got better is found out, too.
    """
    recent = list(samples)[-SAMPLES_USED:]
    if len(recent) < PROBE_AFTER or link.goodput_bytes_s is not None or not link.at_least_bytes_s:
        return None
    sizes = [sample.size_bytes for sample in recent]
    over = SPREAD * median(sizes)
    if max(sizes) >= over:  # as much was sent already, and did not reach the limit of the link
        over = PROBE_STEP * max(sizes)
    extra_s = extra_for_all_s(compute_s) if for_all else min(PROBE_S, PROBE_ROUNDS * compute_s)
    shortest_s = min(sample.seconds for sample in recent if sample.size_bytes == max(sizes))
    return Probe(over, (shortest_s + extra_s) * link.at_least_bytes_s, min(sizes) / SPREAD)


def extra_for_all_s(compute_s: float) -> float:
    """Seconds that a commit which is a probe may cost more, in a round that takes `compute_s` besides."""
    return min(PROBE_S, PROBE_ALL_ROUNDS * compute_s)


def _at_least(samples: Sequence[TransferSample]) -> float:
    """Bytes a second that the link carried for sure: whole transfers, latency and all; or what larger
    ones took beyond smaller ones, of which one may have been delayed by something else (the first model)."""
    most = max(sample.size_bytes / max(NOISE_S, sample.seconds) for sample in samples)
    largest = max(sample.size_bytes for sample in samples)
    small = [sample for sample in samples if sample.size_bytes * SPREAD <= largest]
    if len(small) < PROBE_AFTER:
        return most
    quick = min(small, key=lambda sample: sample.seconds)
    large = min((t for t in samples if t.size_bytes * SPREAD > largest), key=lambda sample: sample.seconds)
    beyond_s = max(0.0, large.seconds - quick.seconds)
    return max(most, (large.size_bytes - quick.size_bytes) / (NOISE_S + beyond_s))


def _slope(samples: Sequence[TransferSample]) -> float | None:
    """Goodput in bytes a second; None when sizes are too much alike, or larger transfers took no longer."""
    sizes = [sample.size_bytes for sample in samples]
    if max(sizes) < SPREAD * max(1, min(sizes)):
        return None
    slopes = [
        (b.seconds - a.seconds) / (b.size_bytes - a.size_bytes)
        for i, a in enumerate(samples)
        for b in samples[i + 1 :]
        if max(a.size_bytes, b.size_bytes) >= SPREAD * max(1, min(a.size_bytes, b.size_bytes))
    ]
    seconds_a_byte = median(slopes)
    spread_s = seconds_a_byte * (max(sizes) - min(sizes))
    return 1.0 / seconds_a_byte if spread_s > max(SECONDS_MIN, _noise_s(samples)) else None


def _noise_s(samples: Sequence[TransferSample]) -> float:
    """By how much samples of like sizes differ: the median distance from the median of their size."""
    off: list[float] = []
    for sample in samples:
        alike = [
            t.seconds for t in samples if t.size_bytes < SPREAD * sample.size_bytes < SPREAD**2 * t.size_bytes
        ]
        if len(alike) > 1:
            off.append(abs(sample.seconds - median(alike)))
    return median(off) if off else 0.0


def _latency_s(sample: TransferSample, goodput_bytes_s: float | None) -> float:
    return max(0.0, sample.seconds - (sample.size_bytes / goodput_bytes_s if goodput_bytes_s else 0.0))


def _goodput(sample: TransferSample, latency_s: float) -> float:
    return sample.size_bytes / max(SECONDS_MIN, sample.seconds - latency_s)
