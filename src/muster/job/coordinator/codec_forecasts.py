"""A coordinator's choice of codecs, its forecasts, and what came of them (design section 2.5).

The choosing is pure (`planning.codecs`, `planning.links`); here is what it is fed with, and a record of
forecast beside outcome, round by round, which survives restarts and is what `muster log --why` shows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import median

import msgspec

from muster.compression.buffers import beside_bytes, weights
from muster.compression.rows import matrices
from muster.history.graph import Point
from muster.job.context import Context
from muster.job.models.payloads import UPDATE_INLINE_BYTES_MAX
from muster.job.models.store import ModelStore
from muster.job.view import JobView, KnownUpdate
from muster.planning.codecs import LAST, Choice, Message, Sample, down_choice, hurried, probing, up_choice
from muster.planning.links import LAST as TRIPS_MAX
from muster.planning.links import PROBE_S, LinkEstimate, Probe, TransferSample, extra_for_all_s, fit, probe
from muster.protocol.records import INLINE_BYTES_MAX, Commit, JobId, NodeId
from muster.storage.store import Store

ROUNDS_KEPT = 512
PROBES_MAX = 4  # of a node that are remembered, to judge by its other messages
EVERYBODY: NodeId = b""  # stands for the commit, which all nodes pull


class Forecast(msgspec.Struct, array_like=True):
    """One message of a round, as foreseen when the round was planned and as it was. Times are what the round
    took the node beside its steps, both ways; `waiting` is |residual| / |update| after the message."""

    node: NodeId
    codec: str
    size_bytes: int
    seconds: float | None
    waiting: float
    why: str
    was_bytes: int | None = None
    was_s: float | None = None
    was_waiting: float | None = None


class CodecForecasts:
    """One node's forecasts for the rounds of one job that it coordinates."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self._trips: dict[NodeId, list[TransferSample]] = {}
        self._probes: dict[NodeId, list[int]] = {}  # rounds of heads on which a node's message was a probe
        self._down: list[Sample] = []  # commits' messages, newest last, but for probes
        self._all_probed = False  # the last planned round's commit is a probe
        self._planned: set[NodeId] = set()  # who was in a plan before
        self._round = 0
        self._rows: dict[NodeId, Forecast] = {}

    def plan(
        self, head: Point, nodes: Sequence[NodeId], steps: int, given: Collection[NodeId] | None = None
    ) -> Mapping[NodeId, Choice]:
        """Each node's codec for the round on top of `head`; the round's forecasts begin. `given`: the plan
        takes the place of another one, is no time for probes, and leaves as it is what these nodes have."""
        view = self._view
        ways, slowest, at_least = self._ways(nodes)
        compute_s = steps * median(max(1e-4, view.offers[node].step_s) for node in nodes)
        other_s = compute_s + max(way.latency_s for way in ways.values())
        down_bytes = _down_bytes(head)
        sent = {node: self._sent(node) for node in nodes}
        messages = {node: self._message(last) for node, last in sent.items()}
        ups = {n: self._up(messages[n], sent[n], ways[n], other_s) for n in nodes}
        down = down_choice(view.job, self._message(self._down), slowest, other_s, self._down, at_least)
        if given is None and not self._all_probed:  # else what the last commit tells comes with these trips
            down = self._down_probe(down, ups, ways, other_s)
            if not down.probe:
                ups = {
                    n: self._up_probe(n, messages[n], c, ways[n], other_s, down_bytes) for n, c in ups.items()
                }
        self._all_probed = down.probe
        self._planned |= set(nodes)
        rows: list[Forecast] = []
        for node, c in ups.items():
            way = ways[node]
            if c.probe:
                self._probes[node] = [*self._probes.get(node, ()), head.round][-PROBES_MAX:]
            trip = c.size_bytes + (0 if node == self._context.node else down_bytes)
            seconds = way.latency_s + trip / way.goodput_bytes_s if way.goodput_bytes_s else None
            if seconds is None and way.latency_s:  # as long as the trips so far, which were of like sizes
                seconds = way.latency_s
            rows.append(Forecast(node, c.codec, c.size_bytes, seconds, c.waiting, c.why))
        rows.append(Forecast(EVERYBODY, down.codec, down.size_bytes, None, down.waiting, down.why))
        kept = {
            n: row for n, row in self._rows.items() if n in (given or ()) and self._round == head.round + 1
        }
        self._round, self._rows = head.round + 1, {row.node: row for row in rows} | kept
        self._keep()
        return ups

    def _message(self, last: Sequence[Sample]) -> Message:
        """What an update of the model consists of, as far as its last messages tell."""
        layout = self._models.layout
        if layout is None:
            return Message(0)
        message = Message(weights(layout), beside_bytes(layout))
        return message.after(last) if matrices(layout) else message

    def _up(self, message: Message, last: Sequence[Sample], way: LinkEstimate, other_s: float) -> Choice:
        """A node's next message."""
        floor = way.at_least_bytes_s or 0.0
        return up_choice(self._view.job, message, way.goodput_bytes_s, other_s, last, floor)

    def _up_probe(
        self,
        node: NodeId,
        message: Message,
        usual: Choice,
        way: LinkEstimate,
        other_s: float,
        down_bytes: int,
    ) -> Choice:
        """A node's next message; in a job that is in a hurry it may be a probe."""
        job = self._view.job
        if job.recipe.codec != "auto" or not hurried(job.stop) or node == self._context.node:
            return usual
        found = probing(message, usual, down_bytes, probe(self._trips.get(node, ()), way, other_s))
        pulled = usual.size_bytes <= UPDATE_INLINE_BYTES_MAX < found.size_bytes  # a round trip more
        return usual if pulled and way.latency_s > PROBE_S else found

    def _down_probe(
        self,
        usual: Choice,
        ups: Mapping[NodeId, Choice],
        ways: Mapping[NodeId, LinkEstimate],
        other_s: float,
    ) -> Choice:
        """The commit's message; one that is a probe measures all ways at once, so it goes before any other,
        as long as it fits into its record."""
        job = self._view.job
        if job.recipe.down_codec != "auto" or not hurried(job.stop):
            return usual
        others = [n for n in ups if n != self._context.node]
        wanted = {n: probe(self._trips.get(n, ()), ways[n], other_s, for_all=True) for n in others}
        probes = [(p, ups[n].size_bytes) for n, p in wanted.items() if p is not None]
        if not probes:
            return usual
        over = max(p.over - up_bytes for p, up_bytes in probes)
        most = min(p.most - up_bytes for p, up_bytes in probes)
        extra_s = extra_for_all_s(other_s)
        for way in (ways[n] for n in others if wanted[n] is None):
            most = min(most, usual.size_bytes + extra_s * (way.floor_bytes_s() or 0.0))
        message = self._message(self._down)
        found = probing(message, usual, 0, Probe(over, min(most, INLINE_BYTES_MAX), 0.0))
        return found if found.size_bytes > usual.size_bytes else usual

    def resume(self, head: Point) -> None:
        """The round was planned in another life of this process."""
        if self._round != head.round + 1:
            self._round = head.round + 1
            self._rows = {row.node: row for row in load(self._context.store, self._view.id, self._round)}

    def down_codec(self) -> str:
        """For the commit that closes the round."""
        row = self._rows.get(EVERYBODY)
        if row is not None:
            return row.codec
        return down_choice(self._view.job, self._message(self._down), None, 0.0, self._down).codec

    def arrived(self, head: Point, update: KnownUpdate, seconds: float) -> None:
        """An update of the round is here: `seconds` after the plan, its steps not counted."""
        node, size_bytes = update.key.node, update.record.payload.size_bytes
        if node != self._context.node:
            trips = self._trips.setdefault(node, [])
            trips.append(TransferSample(size_bytes + _down_bytes(head), seconds))
            del trips[:-TRIPS_MAX]
        row = self._rows.get(node)
        if row is not None:
            row.was_bytes, row.was_s, row.was_waiting = size_bytes, seconds, update.record.residual_ratio / 10

    def committed(self, head: Point, codec: str, size_bytes: int, waiting: float) -> None:
        """The round on top of `head` is in the history: `size_bytes` of delta."""
        if not self._all_probed:
            self._down = [*self._down, Sample(codec, waiting, size_bytes)][-LAST:]
        row = self._rows.get(EVERYBODY)
        if row is not None and self._round == head.round + 1:
            row.was_bytes, row.was_waiting = size_bytes, waiting
            self._keep()

    def _keep(self) -> None:
        store, job = self._context.store, self._view.id
        store.set_state(_key(job, self._round), msgspec.msgpack.encode(list(self._rows.values())))
        if self._round > ROUNDS_KEPT:
            store.set_state(_key(job, self._round - ROUNDS_KEPT), None)

    def _ways(self, nodes: Sequence[NodeId]) -> tuple[dict[NodeId, LinkEstimate], float | None, float]:
        """The way to each node, the lowest goodput of all (None: of one it is not known), and what all of
        them carry at least.

        This node's own update goes nowhere for now; as a rule somebody else coordinates some day, so that it
        is taken to be as far away as the farthest.
        """
        ways: dict[NodeId, LinkEstimate] = {}
        for node in nodes:
            if node != self._context.node:
                reported = self._view.offers[node].goodput_bytes_s
                ways[node] = fit(self._trips.get(node, ()), float(reported) if reported else None)
        known = [way.goodput_bytes_s for way in ways.values()]
        slowest = None if None in known else min((g for g in known if g is not None), default=None)
        floors = {node: way.floor_bytes_s() or 0.0 for node, way in ways.items()}
        told = [floor for node, floor in floors.items() if floor or node in self._planned]
        at_least = min(told, default=0.0)  # who is new may be like the others
        mine = LinkEstimate(0.0, slowest, None if slowest is not None else at_least)
        return ways | {n: mine for n in nodes if n not in ways}, slowest, at_least

    def _sent(self, node: NodeId) -> list[Sample]:
        """A node's last messages of the job, newest last, but for probes: what follows one is as before."""
        probes = self._probes.get(node, ())
        # by rounds: after a lost disk the incarnation is another, not a higher one
        mine = sorted((u.record.base_round, key) for key, u in self._view.updates.items() if key.node == node)
        records = [self._view.updates[key].record for _, key in mine[-LAST - PROBES_MAX :]]
        usual = [r for r in records if r.base_round not in probes][-LAST:]
        return [Sample(r.payload.codec, r.residual_ratio / 10, r.payload.size_bytes) for r in usual]


def load(store: Store, job: JobId, round_: int) -> list[Forecast]:
    """The forecasts kept for one round; none when this node did not coordinate it."""
    kept = store.state(_key(job, round_))
    return msgspec.msgpack.decode(kept, type=list[Forecast]) if kept else []


def _down_bytes(head: Point) -> int:
    """What a node at the head's parent pulls for the head; the model that a job begins with came before."""
    record = head.record
    return record.delta.size_bytes if isinstance(record, Commit) and record.delta is not None else 0


def _key(job: JobId, round_: int) -> str:
    return f"why/{job.hex()}/{round_}"
