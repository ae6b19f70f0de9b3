"""Chooses the codecs of a round, and keeps each forecast beside its outcome.

The rules are pure (`planning.codec_choice`, `planning.links`); this module collects what they need: what
earlier messages took.  The rows of forecast and outcome survive restarts; `muster log --why` shows them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import median

import msgspec

from muster.compression.buffers import beside_bytes, weights
from muster.compression.embedding_rows import matrices
from muster.history.graph import Point
from muster.job.context import Context
from muster.job.models.payloads import UPDATE_INLINE_BYTES_MAX
from muster.job.models.store import ModelStore
from muster.job.view import JobView, KnownUpdate
from muster.planning.codec_choice import (
    MESSAGES_USED,
    CodecChoice,
    Message,
    SentMessage,
    choose_probe,
    down_choice,
    time_limited,
    up_choice,
)
from muster.planning.links import (
    PROBE_S,
    SAMPLES_USED,
    LinkEstimate,
    Probe,
    TransferSample,
    estimate_link,
    extra_for_all_s,
    next_probe,
)
from muster.protocol.records import INLINE_BYTES_MAX, Commit, JobId, NodeId
from muster.storage.store import Store

ROUNDS_KEPT = 512
PROBES_MAX = 4  # remembered of each node, to leave them out of its usual messages
EVERYBODY: NodeId = b""  # stands for the commit, which all nodes pull


class Forecast(msgspec.Struct, array_like=True):
    """One message of a round, as forecast when the round was planned and as it was. Times are what the round
    took the node beside its steps, both transfers; `residual_ratio` is |residual| / |update| after it."""

    node: NodeId
    codec: str
    size_bytes: int
    seconds: float | None
    residual_ratio: float
    why: str
    was_bytes: int | None = None
    was_s: float | None = None
    was_residual_ratio: float | None = None


class CodecForecasts:
    """Chooses the codecs of each round that this node coordinates, and stores the forecasts."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self._samples: dict[NodeId, list[TransferSample]] = {}
        self._probes: dict[NodeId, list[int]] = {}  # rounds of heads on which a node's message was a probe
        self._down: list[SentMessage] = []  # commits' messages, newest last, but for probes
        self._all_probed = False  # the last planned round's commit is a probe
        self._planned: set[NodeId] = set()  # who was in a plan before
        self._round = 0
        self._rows: dict[NodeId, Forecast] = {}

    def plan(
        self, head: Point, nodes: Sequence[NodeId], steps: int, given: Collection[NodeId] | None = None
    ) -> Mapping[NodeId, CodecChoice]:
        """Choose each node's codec for the round on top of `head`, and begin the round's forecasts.

        `given`: the plan takes the place of another one: nothing is probed, and what these nodes were given
        stays as it is.
        """
        view = self._view
        links, slowest, at_least = self._links(nodes)
        steps_s = steps * median(max(1e-4, view.offers[node].step_s) for node in nodes)
        compute_s = steps_s + max(link.latency_s for link in links.values())
        down_bytes = _down_bytes(head)
        sent = {node: self._sent(node) for node in nodes}
        messages = {node: self._message(last) for node, last in sent.items()}
        ups = {n: self._up(messages[n], sent[n], links[n], compute_s) for n in nodes}
        down = down_choice(view.job, self._message(self._down), slowest, compute_s, self._down, at_least)
        if given is None and not self._all_probed:  # else the last commit is measured with this round
            down = self._down_probe(down, ups, links, compute_s)
            if not down.probe:
                ups = {
                    n: self._up_probe(n, messages[n], c, links[n], compute_s, down_bytes)
                    for n, c in ups.items()
                }
        self._all_probed = down.probe
        self._planned |= set(nodes)
        rows: list[Forecast] = []
        for node, c in ups.items():
            link = links[node]
            if c.probe:
                self._probes[node] = [*self._probes.get(node, ()), head.round][-PROBES_MAX:]
            both_bytes = c.size_bytes + (0 if node == self._context.node else down_bytes)
            seconds = link.latency_s + both_bytes / link.goodput_bytes_s if link.goodput_bytes_s else None
            if seconds is None and link.latency_s:  # as long as those so far, which were of like sizes
                seconds = link.latency_s
            rows.append(Forecast(node, c.codec, c.size_bytes, seconds, c.residual_ratio, c.why))
        rows.append(Forecast(EVERYBODY, down.codec, down.size_bytes, None, down.residual_ratio, down.why))
        kept = {
            n: row for n, row in self._rows.items() if n in (given or ()) and self._round == head.round + 1
        }
        self._round, self._rows = head.round + 1, {row.node: row for row in rows} | kept
        self._keep()
        return ups

    def _message(self, last: Sequence[SentMessage]) -> Message:
        """The contents of an update of the model, as far as its last messages show."""
        layout = self._models.layout
        if layout is None:
            return Message(0)
        message = Message(weights(layout), beside_bytes(layout))
        return message.after(last) if matrices(layout) else message

    def _up(
        self, message: Message, last: Sequence[SentMessage], link: LinkEstimate, compute_s: float
    ) -> CodecChoice:
        """The codec of a node's next update."""
        floor = link.at_least_bytes_s or 0.0
        return up_choice(self._view.job, message, link.goodput_bytes_s, compute_s, last, floor)

    def _up_probe(
        self,
        node: NodeId,
        message: Message,
        usual: CodecChoice,
        link: LinkEstimate,
        compute_s: float,
        down_bytes: int,
    ) -> CodecChoice:
        """The codec of a node's next update; in a time-limited job it may be a probe."""
        job = self._view.job
        if job.recipe.codec != "auto" or not time_limited(job.stop) or node == self._context.node:
            return usual
        probe = next_probe(self._samples.get(node, ()), link, compute_s)
        found = choose_probe(message, usual, down_bytes, probe)
        pulled = usual.size_bytes <= UPDATE_INLINE_BYTES_MAX < found.size_bytes  # a round trip more
        return usual if pulled and link.latency_s > PROBE_S else found

    def _down_probe(
        self,
        usual: CodecChoice,
        ups: Mapping[NodeId, CodecChoice],
        links: Mapping[NodeId, LinkEstimate],
        compute_s: float,
    ) -> CodecChoice:
        """The commit's codec; a commit that is a probe measures all links at once, so it goes before any
        other probe, as long as it fits into its record."""
        job = self._view.job
        if job.recipe.down_codec != "auto" or not time_limited(job.stop):
            return usual
        others = [n for n in ups if n != self._context.node]
        wanted = {n: next_probe(self._samples.get(n, ()), links[n], compute_s, for_all=True) for n in others}
        probes = [(p, ups[n].size_bytes) for n, p in wanted.items() if p is not None]
        if not probes:
            return usual
        over = max(p.over - up_bytes for p, up_bytes in probes)
        most = min(p.most - up_bytes for p, up_bytes in probes)
        extra_s = extra_for_all_s(compute_s)
        for link in (links[n] for n in others if wanted[n] is None):
            most = min(most, usual.size_bytes + extra_s * (link.floor_bytes_s() or 0.0))
        message = self._message(self._down)
        found = choose_probe(message, usual, 0, Probe(over, min(most, INLINE_BYTES_MAX), 0.0))
        return found if found.size_bytes > usual.size_bytes else usual

    def resume(self, head: Point) -> None:
        """Load the forecasts of a round that was planned before this process started."""
        if self._round != head.round + 1:
            self._round = head.round + 1
            self._rows = {row.node: row for row in load(self._context.store, self._view.id, self._round)}

    def down_codec(self) -> str:
        """The codec of the commit that closes the round."""
        row = self._rows.get(EVERYBODY)
        if row is not None:
            return row.codec
        return down_choice(self._view.job, self._message(self._down), None, 0.0, self._down).codec

    def arrived(self, head: Point, update: KnownUpdate, seconds: float) -> None:
        """Learn from an update of the round that came `seconds` after the plan, its steps not counted."""
        node, size_bytes = update.key.node, update.record.payload.size_bytes
        if node != self._context.node:
            samples = self._samples.setdefault(node, [])
            samples.append(TransferSample(size_bytes + _down_bytes(head), seconds))
            del samples[:-SAMPLES_USED]
        row = self._rows.get(node)
        if row is not None:
            row.was_bytes, row.was_s = size_bytes, seconds
            row.was_residual_ratio = update.record.residual_ratio / 10

    def committed(self, head: Point, codec: str, size_bytes: int, residual_ratio: float) -> None:
        """Learn from the commit that closed the round on top of `head`: `size_bytes` of delta."""
        if not self._all_probed:
            self._down = [*self._down, SentMessage(codec, residual_ratio, size_bytes)][-MESSAGES_USED:]
        row = self._rows.get(EVERYBODY)
        if row is not None and self._round == head.round + 1:
            row.was_bytes, row.was_residual_ratio = size_bytes, residual_ratio
            self._keep()

    def _keep(self) -> None:
        store, job = self._context.store, self._view.id
        store.note_state(_key(job, self._round), msgspec.msgpack.encode(list(self._rows.values())))
        if self._round > ROUNDS_KEPT:
            store.note_state(_key(job, self._round - ROUNDS_KEPT), None)

    def _links(self, nodes: Sequence[NodeId]) -> tuple[dict[NodeId, LinkEstimate], float | None, float]:
        """The link to each node, the lowest goodput of all (None: one is not known), and a lower bound of it.

        This node's own update crosses no link now; some day another node may coordinate, so its link is
        taken to be like the slowest.
        """
        links: dict[NodeId, LinkEstimate] = {}
        for node in nodes:
            if node != self._context.node:
                reported = self._view.offers[node].goodput_bytes_s
                goodput = float(reported) if reported else None
                links[node] = estimate_link(self._samples.get(node, ()), goodput)
        known = [link.goodput_bytes_s for link in links.values()]
        slowest = None if None in known else min((g for g in known if g is not None), default=None)
        floors = {node: link.floor_bytes_s() or 0.0 for node, link in links.items()}
        counted = [floor for node, floor in floors.items() if floor or node in self._planned]
        at_least = min(counted, default=0.0)  # a new node may be like the others
        mine = LinkEstimate(0.0, slowest, None if slowest is not None else at_least)
        return links | {n: mine for n in nodes if n not in links}, slowest, at_least

    def _sent(self, node: NodeId) -> list[SentMessage]:
        """A node's last messages of the job, newest last, without probes: what follows one is as before."""
        probes = self._probes.get(node, ())
        # by rounds: after a lost disk the incarnation is another, not a higher one
        mine = sorted((u.record.base_round, key) for key, u in self._view.updates.items() if key.node == node)
        records = [self._view.updates[key].record for _, key in mine[-MESSAGES_USED - PROBES_MAX :]]
        usual = [r for r in records if r.base_round not in probes][-MESSAGES_USED:]
        return [SentMessage(r.payload.codec, r.residual_ratio / 10, r.payload.size_bytes) for r in usual]


def load(store: Store, job: JobId, round_: int) -> list[Forecast]:
    """The stored forecasts of one round; none when this node did not coordinate it."""
    kept = store.state(_key(job, round_))
    return msgspec.msgpack.decode(kept, type=list[Forecast]) if kept else []


def _down_bytes(head: Point) -> int:
    """Bytes that a node at the head's parent pulls for the head; the job's first model came before."""
    record = head.record
    return record.delta.size_bytes if isinstance(record, Commit) and record.delta is not None else 0


def _key(job: JobId, round_: int) -> str:
    return f"why/{job.hex()}/{round_}"
