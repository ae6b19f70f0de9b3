"""Records of every type from a source of choices: hypothesis in tests, `random` in scripts/fuzz.py.

Most fields are within their limits and often at them; some are not.  Commits follow the head of a given
history, so that they are not refused at once.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

from muster.history.counted import Key
from muster.history.graph import merge_of
from muster.history.point import Point
from muster.protocol.ids import NOBODY, JobId, NodeId
from muster.protocol.parts import (
    CLASSES,
    LOSS,
    Assignment,
    Cost,
    Discarded,
    Figure,
    Folded,
    Metric,
    Payload,
    Power,
    Prune,
    Recipe,
    Spent,
    StandIn,
    Steering,
    StopRule,
    Target,
)
from muster.protocol.records import (
    Commit,
    Contribution,
    Job,
    Measurement,
    Member,
    Need,
    Offer,
    Plan,
    Record,
    Refusal,
    Revocation,
    Shared,
    Stop,
    Update,
    Use,
)
from muster.protocol.validation import limits as lim

T = TypeVar("T")
CODECS = ("dense32", "dense16", "quant8", "quant4", "stc:0.02", "stc:0.000001", "topk:0.2", "topk16:0.1")
OTHER_CODECS = ("auto", "stc:nan", "stc:1e-300", "later:3", "x" * 40, "")


class Draw(Protocol):
    """A source of choices."""

    def whole(self, low: int, high: int) -> int: ...
    def real(self) -> float: ...
    def one(self, of: Sequence[T]) -> T: ...
    def rarely(self) -> bool: ...
    def raw(self, bytes_max: int) -> bytes: ...
    def text(self) -> str: ...


class ByHypothesis:
    """Choices that hypothesis makes, and makes smaller."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def whole(self, low: int, high: int) -> int:
        return int(self._draw(st.integers(low, high)))

    def real(self) -> float:
        return float(self._draw(st.floats()))

    def one(self, of: Sequence[T]) -> T:
        return self._draw(st.sampled_from(list(of)))  # type: ignore[no-any-return]

    def rarely(self) -> bool:
        return bool(self._draw(st.integers(0, 39)) == 39)

    def raw(self, bytes_max: int) -> bytes:
        return bytes(self._draw(st.binary(max_size=bytes_max)))

    def text(self) -> str:
        return str(self._draw(st.text(max_size=40)))


class ByChance:
    """Choices of a seeded `random.Random`: many in a short time."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def whole(self, low: int, high: int) -> int:
        return self._rng.randint(low, high)

    def real(self) -> float:
        (number,) = struct.unpack("<d", self._rng.randbytes(8))
        return self._rng.choice((number, self._rng.random(), 10.0 ** self._rng.randint(-308, 308)))

    def one(self, of: Sequence[T]) -> T:
        return self._rng.choice(of)

    def rarely(self) -> bool:
        return self._rng.random() < 0.01

    def raw(self, bytes_max: int) -> bytes:
        return self._rng.randbytes(self._rng.randint(0, bytes_max))

    def text(self) -> str:
        return "".join(chr(self._rng.choice((32, 65, 233, 0x20AC, 27, 0x202E))) for _ in range(5))


@dataclass(frozen=True)
class Around:
    """What the records are about: a job, its nodes and some points of its history."""

    job: JobId
    nodes: tuple[NodeId, ...]
    points: tuple[Point, ...]  # the newest last


class Generator:
    """Makes records with the choices of `draw`."""

    def __init__(self, draw: Draw, around: Around) -> None:
        self.d, self.around = draw, around

    def record(self) -> tuple[NodeId, Record]:
        """A record and its author."""
        make = self.d.one(
            (
                self.member, self.a_job, self.offer, self.refusal, self.plan, self.plan, self.update,
                self.update, self.commit, self.commit, self.commit, self.merge, self.measurement, self.stop,
                self.revocation, self.contribution, self.shared, self.need, self.use,
            )
        )  # fmt: skip
        record = make()
        author = NOBODY if record.KIND == "merge" else self.d.one(self.around.nodes)
        return author, record

    # ---- fields --------------------------------------------------------------------------------------

    def count(self, low: int, high: int) -> int:
        """Within the limits, often at them; now and then anything that fits into 64 bits."""
        d = self.d
        if d.rarely():
            return d.one((-(2**63), -1, low - 1, high + 1, 2**53, 2**63 - 1, 2**64 - 1, 0))
        kind = d.whole(0, 3)
        near = min(high, low + 20)
        return (low, high, d.whole(low, high), d.whole(low, near))[kind]

    def real(self, low: float, high: float) -> float:
        d = self.d
        if d.rarely():
            return d.one((math.nan, math.inf, -math.inf, -1.0, 1e308, d.real()))
        kind = d.whole(0, 3)
        return (low, high, low + (high - low) * d.whole(0, 1000) / 1000, min(high, max(low, 0.5)))[kind]

    def id(self) -> bytes:
        return self.d.one((bytes(32), b"\xff" * 32, b"x")) if self.d.rarely() else b"i" * 32

    def node(self) -> NodeId:
        return self.id() if self.d.rarely() else self.d.one(self.around.nodes)

    def job(self) -> JobId:
        return self.id() if self.d.rarely() else self.around.job

    def point(self) -> Point:
        return self.d.one(self.around.points)

    def codec(self) -> str:
        return self.d.one(OTHER_CODECS if self.d.rarely() else CODECS)

    def words(self) -> str:
        return self.d.text() if self.d.rarely() else self.d.one(("", "enough", "no room\nat all", "é" * 500))

    def payload(self, size_max: int) -> Payload:
        d = self.d
        if d.whole(0, 1):
            inline = d.raw(200)
            size = len(inline) + 1 if d.rarely() else len(inline)
            return Payload(self.codec(), size, inline=inline, blob=bytes(32) if d.rarely() else None)
        return Payload(self.codec(), self.count(0, size_max), blob=self.id())

    # ---- records -------------------------------------------------------------------------------------

    def member(self) -> Member:
        return Member(self.d.one(("echo", "a.b-c_d", self.d.text())), self.d.raw(40))

    def a_job(self) -> Job:
        d = self.d
        recipe = Recipe(
            self.real(1e-9, lim.LR_MAX), self.count(1, lim.BATCH_MAX), self.count(0, lim.STEPS_MAX),
            self.count(lim.SEED_MIN, lim.SEED_MAX), self.real(0.0, lim.MOMENTUM_MAX),
            d.one(("auto", self.codec())), d.one(("auto", self.codec())), self.real(1e-9, lim.LR_MAX),
            d.one((None, self.real(0.0, lim.MOMENTUM_MAX))), self.count(1, lim.AVERAGE_MAX),
            self.real(0.0, 1.0),
        )  # fmt: skip
        metrics = self.metrics()
        target = Target(d.one([m.name for m in metrics] or ["loss"]), self.real(1e-9, 1.0))
        stop = StopRule(
            d.one((None, self.count(1, lim.ROUND_MAX))), d.one((None, target, Target(d.text(), 0.5))),
            d.one((None, self.real(1e-9, lim.AGE_MAX_S))), d.one((None, self.count(1, lim.TOTAL_MAX))),
            d.one((None, self.count(1, lim.ROUND_MAX))), d.one((None, self.count(1, lim.TOTAL_MAX))),
            d.one((None, self.real(1e-9, lim.FIGURE_MAX))), d.one((None, self.real(1e-9, lim.FIGURE_MAX))),
        )  # fmt: skip
        task = d.text() if d.rarely() else "linear"
        return Job(
            task, self.id(), recipe, stop, self.count(1, lim.NODES_MAX),
            self.real(lim.PATIENCE_MIN_S, lim.PATIENCE_MAX_S), d.raw(64), metrics,
            *d.one(((None, 0), (self.id(), self.count(0, lim.BLOB_BYTES_MAX)))), *self.share(),
            d.one((1.0, self.real(lim.WIDTH_MIN, 1.0))), self.prune(), *self.like(),
            self.data(),
        )  # fmt: skip

    def share(self) -> tuple[str, int, int]:
        """The job's share, share_bytes and one_shot."""
        share = self.d.text() if self.d.rarely() else self.d.one(lim.SHARE)
        if share == "none" and not self.d.rarely():
            return share, 0, 0
        return share, self.count(0, lim.SHARED_BYTES_MAX), self.count(0, lim.STEPS_MAX)

    def like(self) -> tuple[bytes, int]:
        """The job's like and replay."""
        return self.d.one(((b"", 0), (self.sketch(), self.count(0, lim.BATCH_MAX))))

    def sketch(self) -> bytes:
        d = self.d
        if d.rarely():
            return d.one((b"x", struct.pack("<e", math.nan), struct.pack("<e", -math.inf), bytes(258)))
        return struct.pack(f"<{(n := d.whole(0, 98))}e", *(d.whole(-9, 9) / 7 for _ in range(n)))

    def prune(self) -> Prune | None:
        last = self.count(1, lim.ROUND_MAX)
        return self.d.one((None, Prune(self.real(0.0, 1.0), self.count(1, max(1, last)), last)))

    def data(self) -> tuple[NodeId, ...]:
        return tuple(sorted({self.node() for _ in range(self.d.whole(0, 2))}))

    def offer(self) -> Offer:
        return Offer(
            self.job(), self.count(0, lim.INCARNATION_MAX), self.count(0, lim.SEQUENCE_MAX),
            self.count(0, lim.EXAMPLES_MAX), self.real(0.0, lim.STEP_MAX_S),
            self.d.one((None, self.real(0.0, 1.0))), self.d.one((None, self.real(0.0, lim.AGE_MAX_S))),
            self.count(0, lim.RATE_MAX),
            self.d.one((None, self.power())), self.d.one((None, self.count(0, lim.TOTAL_MAX))),
            self.d.one((None, self.real(0.0, lim.FIGURE_MAX))),
            self.d.one((None, self.count(1, lim.STEPS_MAX))),
        )  # fmt: skip

    def power(self) -> Power:
        watts, joules = lim.WATTS_MAX, lim.EXCHANGE_MAX_J
        return Power(
            self.real(0.0, watts), self.real(0.0, watts), self.real(0.0, joules), self.real(0.0, joules),
            self.real(0.0, joules),
        )  # fmt: skip

    def refusal(self) -> Refusal:
        return Refusal(
            self.job(), self.count(0, lim.INCARNATION_MAX), self.count(0, lim.SEQUENCE_MAX), self.words(),
            self.count(0, lim.ROUND_MAX),
        )  # fmt: skip

    def plan(self) -> Plan:
        d, parent = self.d, self.point()
        nodes = self.around.nodes[: d.whole(1, len(self.around.nodes))]
        assigned = tuple(Assignment(n, self.count(1, lim.STEPS_MAX), self.codec()) for n in nodes)
        stand_ins = sorted({(self.data(), self.node()) for _ in range(d.whole(0, 2))})
        standing = tuple(Assignment(n, 9, self.codec(), data) for data, n in stand_ins if data or d.rarely())
        if d.rarely():
            assigned += assigned
        return Plan(
            self.job(), parent.id, self.count(1, lim.ROUND_MAX) if d.rarely() else parent.round + 1, assigned,
            self.count(1, len(nodes)), self.real(0.0, lim.DEADLINE_MAX_S), self.words(),
            self.count(0, lim.SEQUENCE_MAX), standing,
        )  # fmt: skip

    def update(self) -> Update:
        base = self.point()
        base_id, base_round = base.id, base.round
        if self.d.rarely():
            base_id, base_round = self.id(), self.count(0, lim.ROUND_MAX)
        loss = self.d.one((0.5, math.nan, math.inf, 1e100)) if self.d.rarely() else 0.25
        return Update(
            self.job(), base_id, base_round, self.count(0, lim.INCARNATION_MAX),
            self.count(1, lim.SEQUENCE_MAX), self.count(1, lim.STEPS_MAX), self.count(0, lim.EXAMPLES_MAX),
            loss, self.payload(lim.BLOB_BYTES_MAX if self.d.rarely() else 1000),
            self.count(0, lim.RESIDUAL_RATIO_MAX), self.count(0, lim.SPAN_MAX_MS),
            self.count(0, lim.MILLIJOULES_MAX), self.data(),
        )  # fmt: skip

    def key(self) -> Key:
        return Key(self.node(), self.count(0, lim.INCARNATION_MAX), self.count(1, lim.SEQUENCE_MAX))

    def commit(self) -> Commit:
        d, parent = self.d, self.point()
        keys = sorted({self.key() for _ in range(d.whole(0, 3))})
        cut = d.whole(0, len(keys))
        folded = tuple(
            Folded(
                *k, self.count(1, lim.STEPS_MAX), self.count(0, lim.EXAMPLES_MAX),
                self.count(0, lim.ROUND_MAX), self.real(0.0, lim.WEIGHT_MAX),
            )
            for k in keys[:cut]
        )  # fmt: skip
        discarded = tuple(Discarded(*k, self.words()) for k in keys[cut:])
        most = lim.TOTAL_MAX
        spent = {
            k.node: Spent(
                k.node, self.count(0, most), self.count(0, most), self.count(0, most),
                self.real(0.0, lim.FIGURE_MAX),
            )
            for k in keys[:cut]
        }  # fmt: skip
        record = parent.record
        params_bytes = record.params_bytes if isinstance(record, Commit) else 100
        blob = record.params if isinstance(record, Commit) and d.whole(0, 3) else self.id()
        joined = tuple(n for n in spent if d.rarely() or n not in parent.roster)
        roster = parent.roster + joined
        step = 1 if folded or d.whole(0, 1) else 0
        return Commit(
            self.job(), (parent.id,), parent.round + step, folded, joined,
            tuple(sorted(spent.values())), self.real(parent.age_s, lim.AGE_MAX_S), blob, params_bytes,
            d.one((None, self.payload(params_bytes))), self.real(0.0, lim.FIGURE_MAX), discarded,
            tuple(self.cost() for _ in folded[d.rarely() :]) if d.whole(0, 1) else (),
            tuple(sorted({d.whole(0, len(roster) - 1 + d.rarely()) for _ in range(d.whole(0, 2))})),
            self.steering(), self.words(), self.stand_ins(len(folded), len(roster)),
            self.d.one((b"", b"", bytes(8) + self.d.raw(4))),
            self.d.raw(32) if lim.has_digest(parent.round + step) != d.rarely() else b"",
        )  # fmt: skip

    def stand_ins(self, folded: int, roster: int) -> tuple[StandIn, ...]:
        d = self.d
        most = folded - 1 + d.rarely()
        places = sorted({d.whole(0, most) for _ in range(d.whole(0, 2))}) if most >= 0 else []
        return tuple(StandIn(p, (d.whole(0, roster - 1 + d.rarely()),)) for p in places)

    def cost(self) -> Cost:
        span, residual, joules = lim.SPAN_MAX_MS, lim.RESIDUAL_RATIO_MAX, lim.MILLIJOULES_MAX
        return Cost(
            self.count(0, span), self.count(0, span), self.count(0, lim.BLOB_BYTES_MAX), self.codec(),
            self.count(0, residual), self.count(0, joules), bool(self.d.whole(0, 1)),
        )  # fmt: skip

    def steering(self) -> Steering:
        d, most = self.d, lim.ROUND_MAX
        return Steering(
            self.count(0, lim.STEPS_MAX), self.count(0, most), bool(d.whole(0, 1)), self.count(0, most),
            self.count(0, most), d.one((None, self.real(-9.0, 9.0))), d.one((None, self.real(-9.0, 9.0))),
            self.count(0, lim.RESIDUAL_RATIO_MAX), bool(d.whole(0, 1)),
        )  # fmt: skip

    def merge(self) -> Record:
        return merge_of(self.job(), self.point().id, self.point().id)[1]

    def measurement(self) -> Measurement:
        d, examples = self.d, self.count(0, lim.EXAMPLES_MAX)
        count = self.real(0.5, 2.0**40)
        of_loss = d.one((0.5, math.nan, math.inf, 1e100, -1e100)) if d.rarely() else self.real(-9.0, 9.0)
        found = [
            Figure("accuracy", self.real(0.0, count), count),
            Figure("loss", of_loss, self.real(0.5, 9.0)),
        ]
        if d.whole(0, 1):
            found.append(Figure(d.one(("mae", "top5/at@1", d.text())), self.real(-1e9, 1e9), count))
        if d.rarely():
            found += d.one(([*found], [Figure(f"m{i:02d}", 1.0, 1.0) for i in range(20)]))
        figures = tuple(found[: d.whole(0, len(found))] if examples else ())
        return Measurement(self.job(), self.point().id, examples, figures, bool(d.whole(0, 1)))

    def metrics(self) -> tuple[Metric, ...]:
        d = self.d
        if d.rarely():
            return d.one(((), (CLASSES[0],), CLASSES * 2, (Metric("loss", "max"),), (LOSS, Metric("", "up"))))
        return d.one((CLASSES, (LOSS,), (Metric("perplexity", "min", True), *CLASSES)))

    def stop(self) -> Stop:
        return Stop(self.job(), self.words())

    def revocation(self) -> Revocation:
        named = {self.id() for _ in range(self.d.whole(0, 2))}
        name = self.d.one(("", "carol"))
        return Revocation(self.id(), self.words(), name, tuple(sorted(named)))

    def contribution(self) -> Contribution:
        point = self.point()
        values = struct.pack(f"<{len(point.folded)}f", *(self.d.whole(-9, 9) / 7 for _ in point.folded))
        if self.d.rarely():
            values = self.d.one((values + b"x", b"\xff" * len(values), b"", values * 2))
        drop = self.real(-lim.FIGURE_MAX, lim.FIGURE_MAX)
        return Contribution(self.job(), point.id, self.count(0, lim.EXAMPLES_MAX), True, drop, values)

    def shared(self) -> Shared:
        d, samples = self.d, self.count(1, lim.SHARED_SAMPLES_MAX)
        payload = Payload(self.codec() if d.rarely() else lim.SHARED_CODEC, 90, blob=self.id())
        least = min(max(1, samples), lim.EXAMPLES_MAX)
        return Shared(
            self.job(), self.count(0, lim.INCARNATION_MAX), self.count(0, lim.SEQUENCE_MAX),
            d.text() if d.rarely() else d.one(lim.SHARED_KINDS), samples,
            self.count(1 if d.rarely() else least, lim.EXAMPLES_MAX), payload,
        )  # fmt: skip

    def need(self) -> Need:
        d, labels, sketch = self.d, self.count(0, 1000), self.sketch()
        return Need(
            "linear", self.id(), self.count(0, lim.INCARNATION_MAX), self.count(0, lim.SEQUENCE_MAX),
            self.count(0, lim.SEQUENCE_MAX), sketch,
            self.count(0, lim.EXAMPLES_MAX if sketch or d.rarely() else 0),
            labels, self.count(0, max(0, labels)), bool(d.whole(0, 1)),
        )  # fmt: skip

    def use(self) -> Use:
        d, held, live = self.d, self.count(0, 1000), self.count(0, 1000)
        wins = self.count(0, max(0, held))
        return Use(
            d.text() if d.rarely() else "linear", self.id(), self.count(0, lim.INCARNATION_MAX),
            self.count(0, lim.SEQUENCE_MAX), *d.one(((b"", b""), (self.job(), b""), (self.job(), self.id()))),
            d.one((b"", self.id())), d.text() if d.rarely() else d.one(lim.USE_REASONS),
            self.real(0.0, lim.AGE_MAX_S), held, wins, self.count(0, max(0, held - wins)), live,
            self.count(0, max(0, live)),
        )  # fmt: skip
