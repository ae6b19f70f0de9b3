"""`codec = "auto"`: which codec a message of a round takes, as a pure rule over what was measured.

The ladder goes from few bytes to many.  Three things move along it:

* *error*: with error feedback |residual| / |update| says how many updates' worth of change waits to be sent.
  Above WAITING_HIGH one rung more, below WAITING_LOW one less: the density follows the training;
* *time that is free*: were rounds to a target to fall with the density p as p**-a, time would be shortest
  where the message takes a / (1 - a) of the round's other time.  a was 0.5 and more from 1 to 2 % (MNIST,
  docs/compression.md) and vanishes above 10 %; FREE is at the low end of that, for bytes count as well.  The
  densest rung within it is the floor: on a LAN 8 bits, with which error feedback leaves nothing behind;
* *time there is*: a message takes at most SHARE of the round's other time, whatever the error asks for.

A job that ends by its rounds alone has no reason to hurry: rounds are what it is short of, and each shall
teach as much as it can.  There a message may take PATIENT_S, or PATIENT_BYTES where the link is not measured.
One that is in a hurry begins with START, or with more if that fits into HURRIED_BYTES: 10 % instead of 2 % in
rounds 1 to 3 saved two or three rounds of seventeen (MNIST, field-8).

Where a way is not measured, what it carried at least (`planning.links`) makes rungs free all the same, and
now and then a message goes as a probe some rungs further up, or down where up would take long.

Sparse ternary is the only sparse rung: at equal bytes it beat 4-bit values (science.md 12.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from muster.compression.codec import CodecError
from muster.compression.codecs.families import parse
from muster.planning.links import Probe
from muster.protocol.records import Job, StopRule

DENSE = "dense32"
LADDER = ("stc:0.0025", "stc:0.005", "stc:0.01", "stc:0.02", "stc:0.05", "stc:0.1", "quant4", "quant8")
# What waits in the long run, rung by rung, where nothing was measured yet: two classes a node, MNIST.
USUALLY_WAITING = (60.0, 33.0, 19.0, 11.0, 5.0, 2.7, 0.25, 0.02)
START = "stc:0.02"
SHARE = 0.5
PART_MAX = 0.9  # of the estimate: a message that is not smaller than this has all its rows
FREE = 0.2
FREE_ALL = 0.4  # of a commit: every node has the use of it, and it crosses a link that many share but once
# No update is that dense because it is free: with four of eight nodes at 5 % no more rounds were needed than
# with 10 %, and four messages of 10 % take half a second of the bridge of field-8 (docs/compression.md).
NOT_FREE_UP = "stc:0.1"
WAITING_HIGH = 32.0  # 1 % ran at 19 with two classes a node and did no worse for its bytes than 2 %
WAITING_LOW = 1.5
OTHER_MIN_S = 1.0  # no round is shorter: records, evaluation and waiting for one another take their time too
PATIENT_S = (
    6.0  # on field-8 with MNIST that is 4 or 8 bits, with which 20 rounds reach what dense messages do
)
PATIENT_BYTES = 16_000
HURRIED_BYTES = 2_400  # two packets, where the link is not measured: two seconds of one with 9.6 kbit/s
LAST = 3  # messages whose figures count


@dataclass(frozen=True)
class Sample:
    """What one message was like: |residual| / |update| after it, the residual being what stayed behind, and
    its bytes (None: not told)."""

    codec: str
    waiting: float
    size_bytes: int | None = None


@dataclass(frozen=True)
class Message:
    """What an update of a model consists of: `weights` for the codec, `beside_bytes` of statistics and
    counters whatever the codec, and `part` of its bytes, where rows that nobody touched are not sent."""

    weights: int
    beside_bytes: int = 0
    part: float = 1.0

    def size_bytes(self, codec: str) -> int:
        """The forecast. Raises CodecError."""
        return self.beside_bytes + round(self.part * parse(codec).estimate_bytes(self.weights))

    def after(self, last: Sequence[Sample]) -> Message:
        """With the part that the last messages had; noise of the estimate aside."""
        parts = [
            (s.size_bytes - self.beside_bytes) / parse(s.codec).estimate_bytes(self.weights)
            for s in last
            if s.size_bytes is not None
        ]
        part = max(parts, default=1.0)
        return replace(self, part=max(0.0, part)) if part < PART_MAX else self


@dataclass(frozen=True)
class Choice:
    """A codec, what it is forecast to cost and to leave, and the reason in one sentence."""

    codec: str
    size_bytes: int
    seconds: float | None  # on the way; None: the link is not measured
    waiting: float  # |residual| / |update| after it
    why: str
    probe: bool = False  # sent to learn how long it takes


def hurried(stop: StopRule) -> bool:
    """Whether a job is over the sooner the less its messages take: not if it ends by its rounds alone."""
    return stop.rounds is None or not (stop.target is None and stop.seconds is None and stop.bytes is None)


def choose(
    message: Message,
    goodput_bytes_s: float | None,
    other_s: float,
    last: Sequence[Sample] = (),
    *,
    hurry: bool = True,
    at_least_bytes_s: float = 0.0,
    free_share: float = FREE,
    not_free: str | None = NOT_FREE_UP,
) -> Choice:
    """The codec for a message over a link of `goodput_bytes_s` (None: not measured, but
    `at_least_bytes_s`), in a round that takes `other_s` besides; `last` are this sender's messages of the
    job, newest last; `hurry`: see `hurried`; `free_share` of that time a message may take for nothing lost,
    but not with the codec `not_free`.

    Raises CodecError for numbers that are none.
    """
    if message.weights < 0 or not other_s >= 0 or (goodput_bytes_s is not None and not goodput_bytes_s >= 0):
        raise CodecError("size, goodput and time must be numbers that are not negative")
    costs = [message.size_bytes(name) for name in LADDER]
    recent = list(last)[-LAST:]
    rung, why = _by_error(recent)
    frees = [math.inf if name == not_free else cost for name, cost in zip(LADDER, costs, strict=True)]
    if goodput_bytes_s is None:  # what trips took may be latency or bytes: only the least time is a round's
        free = _densest(frees, at_least_bytes_s * OTHER_MIN_S * free_share)
        modest = _densest(frees, HURRIED_BYTES if hurry else PATIENT_BYTES)
        if free is not None and free > max(rung, modest or 0):
            rung, why = free, f"{costs[free]} bytes are next to nothing"
            return _choice(
                rung, costs, None, recent, f"{why} on a link of {at_least_bytes_s:.2g} B/s or more"
            )
        if modest is not None and modest > rung:
            rung = modest
            why = (
                f"{costs[rung]} bytes are next to nothing" if hurry else "rounds are what the job is short of"
            )
        return _choice(rung, costs, None, recent, f"{why}; the link is not measured yet")
    other_s = max(other_s, OTHER_MIN_S)
    patient_s = 0.0 if hurry else PATIENT_S
    free = _densest(frees, goodput_bytes_s * max(other_s * free_share, patient_s))
    fits = _densest(costs, goodput_bytes_s * max(other_s * SHARE, patient_s))
    if free is not None and free > rung:
        rung, why = free, f"{costs[free]} bytes are next to nothing in a round of {other_s:.2g} s"
        if not hurry:
            why = f"rounds are what the job is short of, and {costs[free]} bytes take at most {patient_s:g} s"
    elif fits is None:
        rung = min(range(len(costs)), key=costs.__getitem__)
        why = f"even the smallest message is long in a round of {other_s:.2g} s"
    elif fits < rung:
        rung, why = fits, f"denser would take more than {SHARE:.0%} of a round of {other_s:.2g} s ({why})"
    return _choice(rung, costs, goodput_bytes_s, recent, why)


def probing(message: Message, usual: Choice, back_bytes: int, probe: Probe | None) -> Choice:
    """The choice `usual` for a message, or a probe in its place; the trip that it is part of has
    `back_bytes` besides.

    The sparsest rung that is dense enough to tell something is taken; if that takes too long, the densest
    that is sparse enough.
    """
    if probe is None or usual.codec not in LADDER:
        return usual
    trips = [message.size_bytes(name) + back_bytes for name in LADDER]
    now = LADDER.index(usual.codec)
    denser = next((i for i, trip in enumerate(trips) if trip >= probe.over), now)
    if denser <= now:  # it is as good as one, or there is none
        return usual
    if trips[denser] > probe.most:
        sparser = [i for i, trip in enumerate(trips[:now]) if trip <= probe.under]
        if not sparser:
            return usual
        rung, than = sparser[-1], "less"
    else:
        rung, than = denser, "more"
    waiting = usual.waiting * _usually(LADDER[rung]) / (_usually(usual.codec) or 1.0)
    why = f"a probe: the way is not measured, and {than} bytes than before tell what it carries"
    return Choice(LADDER[rung], trips[rung] - back_bytes, None, waiting, why, probe=True)


def fixed(name: str, message: Message, goodput_bytes_s: float | None, last: Sequence[Sample] = ()) -> Choice:
    """The forecast for a codec that the user chose. Raises CodecError."""
    cost = message.size_bytes(name)
    return Choice(name, cost, _seconds(cost, goodput_bytes_s), _waits(name, last), "the recipe says so")


def up_choice(
    job: Job,
    message: Message,
    goodput_bytes_s: float | None,
    other_s: float,
    last: Sequence[Sample],
    at_least_bytes_s: float = 0.0,
) -> Choice:
    """For one node's next update."""
    return _planned(job, job.recipe.codec, message, goodput_bytes_s, other_s, last, at_least_bytes_s)


def down_choice(
    job: Job,
    message: Message,
    goodput_bytes_s: float | None,
    other_s: float,
    last: Sequence[Sample],
    at_least_bytes_s: float = 0.0,
) -> Choice:
    """For a commit, which every node of the round pulls: the rates are the slowest one's."""
    return _planned(
        job, job.recipe.down_codec, message, goodput_bytes_s, other_s, last, at_least_bytes_s, FREE_ALL, None
    )


def _planned(
    job: Job,
    codec: str,
    message: Message,
    goodput_bytes_s: float | None,
    other_s: float,
    last: Sequence[Sample],
    at_least_bytes_s: float,
    free_share: float = FREE,
    not_free: str | None = NOT_FREE_UP,
) -> Choice:
    if codec == "auto":
        return choose(
            message, goodput_bytes_s, other_s, last, hurry=hurried(job.stop),
            at_least_bytes_s=at_least_bytes_s, free_share=free_share, not_free=not_free,
        )  # fmt: skip
    return fixed(codec, message, goodput_bytes_s, last)


def _by_error(recent: Sequence[Sample]) -> tuple[int, str]:
    if not recent or recent[-1].codec not in LADDER:
        return LADDER.index(START), "a job starts so"
    now = LADDER.index(recent[-1].codec)
    waiting = median(sample.waiting for sample in recent)
    text = f"{waiting:.1f} updates' worth of change waits"
    settled = len(recent) == LAST and len({sample.codec for sample in recent}) == 1
    if waiting > WAITING_HIGH and settled:
        return min(now + 1, len(LADDER) - 1), f"{text}, more than {WAITING_HIGH:g}"
    if waiting < WAITING_LOW and settled and now > LADDER.index(START):
        return now - 1, f"{text}, less than {WAITING_LOW:g}"
    return now, text


def _waits(codec: str, recent: Sequence[Sample]) -> float:
    """What will wait behind a message of `codec`: as measured last, scaled to another rung."""
    if not recent:
        return _usually(codec)
    usual = _usually(recent[-1].codec)
    return recent[-1].waiting * (_usually(codec) / usual if usual else 1.0)


def _usually(codec: str) -> float:
    return USUALLY_WAITING[LADDER.index(codec)] if codec in LADDER else 0.0


def _densest(costs: Sequence[float], room_bytes: float) -> int | None:
    """The last rung whose message fits."""
    fitting = [i for i, cost in enumerate(costs) if cost <= room_bytes]
    return fitting[-1] if fitting else None


def _seconds(cost: int, goodput_bytes_s: float | None) -> float | None:
    if goodput_bytes_s is None:
        return None
    return cost / goodput_bytes_s if goodput_bytes_s else math.inf


def _choice(
    rung: int, costs: Sequence[int], goodput_bytes_s: float | None, recent: Sequence[Sample], why: str
) -> Choice:
    name = LADDER[rung]
    return Choice(name, costs[rung], _seconds(costs[rung], goodput_bytes_s), _waits(name, recent), why)
