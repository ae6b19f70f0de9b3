"""`codec = "auto"`: which codec a message of a round takes, as a pure rule over what was measured.

The ladder goes from few bytes to many.  Three things move along it:

* *error*: with error feedback |residual| / |update| says how many updates' worth of change is still to be
  sent.  Above RESIDUAL_HIGH one rung more, below RESIDUAL_LOW one less: the density follows the training;
* *free time*: were rounds to a target to fall with the density p as p**-a, time would be shortest where the
  message takes a / (1 - a) of the round's compute time.  a is 0.5 and more from 1 to 2 % and vanishes above
  10 %; FREE_TIME_SHARE is at the low end of that, for bytes count as well.  The densest rung within it is the
  floor: on a LAN 8 bits, which leave next to no residual;
* *available time*: a message takes at most SHARE of the round's compute time, whatever the error asks for.

A job that ends by its rounds alone is not time-limited: rounds are what it is short of, and each shall teach
as much as it can.  There a message may take ROUNDS_LIMITED_S, or ROUNDS_LIMITED_BYTES where the link is not
measured.  A time-limited one begins with START, or with more if that fits into TIME_LIMITED_BYTES: denser
first messages save rounds (docs/notes/2026-11-28-time-and-bytes.md has the runs).

Where a link is not measured, the lower bound of its goodput (`planning.links`) makes rungs free all the same,
and now and then a message goes as a probe some rungs further up, or down where up would take long.

Sparse ternary is the only sparse rung: at equal bytes it does better than 4-bit values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from muster.compression.codec import Codec, CodecError
from muster.compression.codecs.families import parse
from muster.planning.links import Probe
from muster.protocol.parts import StopRule
from muster.protocol.records import Job

DENSE = "dense32"
LADDER = ("stc:0.0025", "stc:0.005", "stc:0.01", "stc:0.02", "stc:0.05", "stc:0.1", "quant4", "quant8")
# |residual| / |update| in the long run by rung, before anything was measured: two classes a node, MNIST.
USUAL_RESIDUAL_RATIO = (60.0, 33.0, 19.0, 11.0, 5.0, 2.7, 0.25, 0.02)
START = "stc:0.02"
# Where bytes cost money: below it a message of a small model is less than the record around it.
METERED_CODEC = "stc:0.01"
SHARE = 0.5
PART_MAX = 0.9  # of the estimate: a message that is not smaller than this has all its rows
FREE_TIME_SHARE = 0.2
# Of a commit: every node has the use of it, and it crosses a link that many share but once.
FREE_TIME_SHARE_COMMIT = 0.4
# An update is never that dense only because it is free: it saves no rounds over the rung below, and nodes
# that share a link delay one another.
NEVER_FREE_UPDATE = "stc:0.1"
RESIDUAL_HIGH = 32.0  # 1 % has a ratio of 19 and does no worse for its bytes than 2 %
RESIDUAL_LOW = 1.5
COMPUTE_MIN_S = (
    1.0  # no round is shorter: records, evaluation and waiting for one another take their time too
)
# On most links that is 4 or 8 bits, with which as many rounds reach what dense messages do.
ROUNDS_LIMITED_S = 6.0
ROUNDS_LIMITED_BYTES = 16_000
TIME_LIMITED_BYTES = 2_400  # two packets, where the link is not measured: two seconds of one with 9.6 kbit/s
MESSAGES_USED = 3  # the newest ones, whose figures count


def known_codec(name: str) -> Codec | None:
    """The codec called `name`; None for one of another version, or for what is none."""
    try:
        return parse(name)
    except CodecError:
        return None


def sparser(one: str, other: str) -> str:
    """Of two codecs the one with fewer bytes; one that is on no rung of the ladder takes the most."""
    return min(one, other, key=lambda name: LADDER.index(name) if name in LADDER else len(LADDER))


@dataclass(frozen=True)
class SentMessage:
    """A message that was sent: its codec, |residual| / |update| after it (the residual is what error feedback
    keeps for later messages), and its bytes (None: not known)."""

    codec: str
    residual_ratio: float
    size_bytes: int | None = None


@dataclass(frozen=True)
class Message:
    """The contents of an update of a model: `weights` for the codec, `beside_bytes` of statistics and
    counters whatever the codec, and `part` of the codec's bytes: rows that nobody touched are not sent."""

    weights: int
    beside_bytes: int = 0
    part: float = 1.0

    def size_bytes(self, codec: str) -> int:
        """Forecast of the message's size. Raises CodecError."""
        return self.beside_bytes + round(self.part * parse(codec).estimate_bytes(self.weights))

    def after(self, last: Sequence[SentMessage]) -> Message:
        """The same with the part that the last messages had, unless that is noise of the estimate."""
        parts = [
            (s.size_bytes - self.beside_bytes) / max(1, codec.estimate_bytes(self.weights))
            for s in last
            if s.size_bytes is not None and (codec := known_codec(s.codec)) is not None
        ]
        part = max(parts, default=1.0)
        return replace(self, part=max(0.0, part)) if part < PART_MAX else self


@dataclass(frozen=True)
class CodecChoice:
    """A codec, the message's forecast bytes, seconds and residual, and the reason in one sentence."""

    codec: str
    size_bytes: int
    seconds: float | None  # of transfer; None: the link is not measured
    residual_ratio: float  # |residual| / |update| after it
    why: str
    probe: bool = False  # sent to learn how long it takes


def time_limited(stop: StopRule) -> bool:
    """Whether a job ends the sooner the less time its messages take: not if it ends by its rounds alone."""
    others = (stop.target, stop.seconds, stop.bytes, stop.bytes_node, stop.joules, stop.joules_node)
    return stop.rounds is None or any(other is not None for other in others)


def choose(
    message: Message,
    goodput_bytes_s: float | None,
    compute_s: float,
    last: Sequence[SentMessage] = (),
    *,
    time_limited: bool = True,
    at_least_bytes_s: float = 0.0,
    free_time_share: float = FREE_TIME_SHARE,
    never_free: str | None = NEVER_FREE_UPDATE,
) -> CodecChoice:
    """The codec for a message over a link of `goodput_bytes_s` (None: not measured, but
    `at_least_bytes_s`), in a round that takes `compute_s` besides; `last` are this sender's messages of
    the job, newest last; `time_limited`: see the function; a message that takes up to `free_time_share` of
    the compute time is free, but never with the codec `never_free`.

    Raises CodecError for numbers that are none.
    """
    if (
        message.weights < 0
        or not compute_s >= 0
        or (goodput_bytes_s is not None and not goodput_bytes_s >= 0)
    ):
        raise CodecError("size, goodput and time must be numbers that are not negative")
    costs = [message.size_bytes(name) for name in LADDER]
    recent = list(last)[-MESSAGES_USED:]
    rung, why = _by_error(recent)
    frees = [math.inf if name == never_free else cost for name, cost in zip(LADDER, costs, strict=True)]
    if goodput_bytes_s is None:  # seconds may be latency or bytes: only the least time is surely a round's
        free = _densest(frees, at_least_bytes_s * COMPUTE_MIN_S * free_time_share)
        modest = _densest(frees, TIME_LIMITED_BYTES if time_limited else ROUNDS_LIMITED_BYTES)
        if free is not None and free > max(rung, modest or 0):
            rung, why = free, f"{costs[free]} bytes are next to nothing"
            return _choice(
                rung, costs, None, recent, f"{why} on a link of {at_least_bytes_s:.2g} B/s or more"
            )
        if modest is not None and modest > rung:
            rung = modest
            why = (
                f"{costs[rung]} bytes are next to nothing"
                if time_limited
                else "rounds are what the job is short of"
            )
        return _choice(rung, costs, None, recent, f"{why}; the link is not measured yet")
    compute_s = max(compute_s, COMPUTE_MIN_S)
    patient_s = 0.0 if time_limited else ROUNDS_LIMITED_S
    free = _densest(frees, goodput_bytes_s * max(compute_s * free_time_share, patient_s))
    fits = _densest(costs, goodput_bytes_s * max(compute_s * SHARE, patient_s))
    if free is not None and free > rung:
        rung, why = free, f"{costs[free]} bytes are next to nothing in a round of {compute_s:.2g} s"
        if not time_limited:
            why = f"rounds are what the job is short of, and {costs[free]} bytes take at most {patient_s:g} s"
    elif fits is None:
        rung = min(range(len(costs)), key=costs.__getitem__)
        why = f"even the smallest message is long in a round of {compute_s:.2g} s"
    elif fits < rung:
        rung, why = fits, f"denser would take more than {SHARE:.0%} of a round of {compute_s:.2g} s ({why})"
    return _choice(rung, costs, goodput_bytes_s, recent, why)


def choose_probe(message: Message, usual: CodecChoice, back_bytes: int, probe: Probe | None) -> CodecChoice:
    """The choice `usual` for a message, or a probe in its place; the transfer that it is part of has
    `back_bytes` besides.

    The sparsest rung that is dense enough to measure the link is taken; if that takes too long, the densest
    that is sparse enough.
    """
    if probe is None or usual.codec not in LADDER:
        return usual
    sizes = [message.size_bytes(name) + back_bytes for name in LADDER]
    now = LADDER.index(usual.codec)
    denser = next((i for i, size in enumerate(sizes) if size >= probe.over), now)
    if denser <= now:  # it is as good as one, or there is none
        return usual
    if sizes[denser] > probe.most:
        sparser = [i for i, size in enumerate(sizes[:now]) if size <= probe.under]
        if not sparser:
            return usual
        rung, than = sparser[-1], "fewer"
    else:
        rung, than = denser, "more"
    ratio = usual.residual_ratio * _usual_residual(LADDER[rung]) / (_usual_residual(usual.codec) or 1.0)
    why = f"a probe: the link is not measured, and {than} bytes than before show its goodput"
    return CodecChoice(LADDER[rung], sizes[rung] - back_bytes, None, ratio, why, probe=True)


def fixed(
    name: str, message: Message, goodput_bytes_s: float | None, last: Sequence[SentMessage] = ()
) -> CodecChoice:
    """The codec that the recipe names, with its forecast. Raises CodecError."""
    cost = message.size_bytes(name)
    return CodecChoice(
        name, cost, _seconds(cost, goodput_bytes_s), _expected_residual(name, last), "the recipe says so"
    )


def up_choice(
    job: Job, message: Message, goodput_bytes_s: float | None, compute_s: float,
    last: Sequence[SentMessage], at_least_bytes_s: float = 0.0,
) -> CodecChoice:  # fmt: skip
    """The codec of one node's next update: the recipe's, or the one chosen by what was measured."""
    return _planned(job, job.recipe.codec, message, goodput_bytes_s, compute_s, last, at_least_bytes_s)


def down_choice(
    job: Job, message: Message, goodput_bytes_s: float | None, compute_s: float,
    last: Sequence[SentMessage], at_least_bytes_s: float = 0.0,
) -> CodecChoice:  # fmt: skip
    """The codec of a commit, which every node of the round pulls: the rates are those of the slowest one."""
    return _planned(
        job, job.recipe.down_codec, message, goodput_bytes_s, compute_s, last, at_least_bytes_s,
        free_time_share=FREE_TIME_SHARE_COMMIT, never_free=None,
    )  # fmt: skip


def _planned(
    job: Job,
    codec: str,
    message: Message,
    goodput_bytes_s: float | None,
    compute_s: float,
    last: Sequence[SentMessage],
    at_least_bytes_s: float,
    free_time_share: float = FREE_TIME_SHARE,
    never_free: str | None = NEVER_FREE_UPDATE,
) -> CodecChoice:
    if codec == "auto":
        return choose(
            message, goodput_bytes_s, compute_s, last, time_limited=time_limited(job.stop),
            at_least_bytes_s=at_least_bytes_s, free_time_share=free_time_share, never_free=never_free,
        )  # fmt: skip
    return fixed(codec, message, goodput_bytes_s, last)


def _by_error(recent: Sequence[SentMessage]) -> tuple[int, str]:
    if not recent or recent[-1].codec not in LADDER:
        return LADDER.index(START), "a job starts so"
    now = LADDER.index(recent[-1].codec)
    ratio = median(message.residual_ratio for message in recent)
    text = f"{ratio:.1f} updates' worth of residual"
    settled = len(recent) == MESSAGES_USED and len({message.codec for message in recent}) == 1
    if ratio > RESIDUAL_HIGH and settled:
        return min(now + 1, len(LADDER) - 1), f"{text}, more than {RESIDUAL_HIGH:g}"
    if ratio < RESIDUAL_LOW and settled and now > LADDER.index(START):
        return now - 1, f"{text}, less than {RESIDUAL_LOW:g}"
    return now, text


def _expected_residual(codec: str, recent: Sequence[SentMessage]) -> float:
    """|residual| / |update| after a message of `codec`: as measured last, scaled to another rung."""
    if not recent:
        return _usual_residual(codec)
    usual = _usual_residual(recent[-1].codec)
    return recent[-1].residual_ratio * (_usual_residual(codec) / usual if usual else 1.0)


def _usual_residual(codec: str) -> float:
    return USUAL_RESIDUAL_RATIO[LADDER.index(codec)] if codec in LADDER else 0.0


def _densest(costs: Sequence[float], room_bytes: float) -> int | None:
    """The last rung whose message fits."""
    fitting = [i for i, cost in enumerate(costs) if cost <= room_bytes]
    return fitting[-1] if fitting else None


def _seconds(cost: int, goodput_bytes_s: float | None) -> float | None:
    if goodput_bytes_s is None:
        return None
    return cost / goodput_bytes_s if goodput_bytes_s else math.inf


def _choice(
    rung: int, costs: Sequence[int], goodput_bytes_s: float | None, recent: Sequence[SentMessage], why: str
) -> CodecChoice:
    name = LADDER[rung]
    return CodecChoice(
        name, costs[rung], _seconds(costs[rung], goodput_bytes_s), _expected_residual(name, recent), why
    )
