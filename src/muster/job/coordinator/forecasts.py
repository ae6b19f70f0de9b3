"""Keeps each forecast of a round beside its outcome: `muster log --why` shows them, also after a restart."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from muster.history.point import Point
from muster.job.context import Context
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView
from muster.planning.round_plan import RoundPlan
from muster.protocol.ids import JobId, NodeId
from muster.storage.store import Store

ROUNDS_KEPT = 512
EVERYBODY: NodeId = b""  # stands for the round as a whole and its commit, which all nodes pull


class Forecast(msgspec.Struct, array_like=True):
    """One message of a round, as forecast when the round was planned and as it was.

    Times of a node are what the round took it beside its steps, both transfers; of EVERYBODY the whole
    round's.  `residual_ratio` is |residual| / |update| after the message.
    """

    node: NodeId
    codec: str
    size_bytes: int
    seconds: float | None
    residual_ratio: float
    why: str
    was_bytes: int | None = None
    was_s: float | None = None
    was_residual_ratio: float | None = None
    probe: bool = False
    steps: int = 0
    joules: float = 0.0
    was_joules: float | None = None
    plan: str = ""  # of EVERYBODY: the round as planned, in a sentence
    all_bytes: int = 0  # of EVERYBODY: what crosses all nodes' links
    was_all_bytes: int | None = None


class RoundForecasts:
    """The forecasts of the round that this node coordinates."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self._round = 0
        self._rows: dict[NodeId, Forecast] = {}

    def planned(
        self, head: Point, plan: RoundPlan, why: str, head_bytes: int, given: Collection[NodeId]
    ) -> None:
        """Begin the forecasts of the round on `head`, whose message has `head_bytes`; those of nodes that an
        earlier plan was `given` to stay. `why`: the plan as it is said."""
        messages, steps = plan.messages, {a.node: a.steps for a in plan.round.assignments}
        rows = {
            n: Forecast(
                n, c.codec, c.size_bytes, messages.seconds(n, 0 if n == self._context.node else head_bytes),
                c.residual_ratio, c.why, probe=c.probe, steps=steps[n], joules=plan.joules[n],
            )
            for n, c in messages.up.items()
        }  # fmt: skip
        down = messages.down
        rows[EVERYBODY] = Forecast(
            EVERYBODY, down.codec, down.size_bytes, plan.round.expected_s, down.residual_ratio, down.why,
            probe=down.probe, steps=plan.tau, joules=plan.usage.joules, plan=why,
            all_bytes=plan.usage.bytes,
        )  # fmt: skip
        kept = {n: row for n, row in self._rows.items() if n in given and self._round == head.round + 1}
        self._round, self._rows = head.round + 1, rows | kept
        self._keep()

    def resume(self, head: Point) -> None:
        """Load the forecasts of a round that was planned before this process started."""
        if self._round != head.round + 1:
            self._round = head.round + 1
            self._rows = {row.node: row for row in load(self._context.store, self._view.id, self._round)}

    def commit_codec(self) -> str | None:
        """The codec of the commit that closes the round; None: this node has planned none."""
        row = self._rows.get(EVERYBODY)
        return row.codec if row is not None else None

    def probes(self, node: NodeId) -> bool:
        """Whether a node's message in this round, or with EVERYBODY the commit's, is a probe."""
        row = self._rows.get(node)
        return row is not None and row.probe

    def steps(self) -> int:
        """Steps of the median node in this round; 0: this node has planned none."""
        row = self._rows.get(EVERYBODY)
        return row.steps if row is not None else 0

    def arrived(self, update: KnownUpdate, seconds: float | None) -> None:
        """An update of the round came; it took its node `seconds` beside its steps, if that is known."""
        row = self._rows.get(update.key.node)
        if row is not None:
            row.was_bytes, row.was_s = update.record.payload.size_bytes, seconds
            row.was_residual_ratio = update.record.residual_ratio / 10
            row.was_joules = update.record.millijoules / 1000

    def committed(
        self, head: Point, updates: Sequence[KnownUpdate], size_bytes: int, residual_ratio: float,
        seconds: float | None,
    ) -> None:  # fmt: skip
        """The round on top of `head` was closed with these, `seconds` after its plan, by a message of that
        size."""
        row = self._rows.get(EVERYBODY)
        if row is not None and self._round == head.round + 1:
            row.was_bytes, row.was_residual_ratio, row.was_s = size_bytes, residual_ratio, seconds
            row.was_all_bytes = sum(u.record.payload.size_bytes + size_bytes for u in updates)
            row.was_joules = sum(u.record.millijoules for u in updates) / 1000
            self._keep()

    def _keep(self) -> None:
        store, job = self._context.store, self._view.id
        store.note_state(_key(job, self._round), msgspec.msgpack.encode(list(self._rows.values())))
        if self._round > ROUNDS_KEPT:
            store.note_state(_key(job, self._round - ROUNDS_KEPT), None)


def load(store: Store, job: JobId, round_: int) -> list[Forecast]:
    """The stored forecasts of one round; none when this node did not coordinate it."""
    kept = store.state(_key(job, round_))
    return msgspec.msgpack.decode(kept, type=list[Forecast]) if kept else []


def _key(job: JobId, round_: int) -> str:
    return f"why/{job.hex()}/{round_}"
