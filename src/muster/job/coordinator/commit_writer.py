"""Writes the history of a job: commits that close rounds, merges of branches, and the closing commit."""

from __future__ import annotations

import math
from functools import partial

from muster.compression.change import add, difference
from muster.compression.codec import CodecError
from muster.compression.codecs.families import parse
from muster.compression.feedback import norm
from muster.compression.model import encode_with_feedback, flatten
from muster.compression.tensors import pack
from muster.history.counted import Key
from muster.history.graph import Point, merge_of
from muster.job.context import Context
from muster.job.models import residuals
from muster.job.models.folding import Outcome, RoundContext, fold, post_merge_step_scale, spent_after
from muster.job.models.line_mean import mean_of_line
from muster.job.models.payloads import keep_payload, payload_bytes
from muster.job.models.residuals import Vector
from muster.job.models.store import Arrays, ModelStore
from muster.job.view import JobView, KnownUpdate
from muster.network.sync.record_compression.commit_delta import TICKS_A_S
from muster.planning.codec_choice import DENSE
from muster.protocol.records import BlobId, Commit, CommitId, Discarded, NodeId, Payload, short
from muster.protocol.validation.limits import AGE_MAX_S


class CommitWriter:
    """Writes commits and merges while this node coordinates, and keeps the job's age."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self.held_since: tuple[bytes, float, float] | None = None  # head, loop time, its age_s

    def age_s(self, head: Point) -> float:
        """The job's age: the head's, advanced by this node's own clock since it came to hold it."""
        if self.held_since is None or self.held_since[0] != head.id:
            self.held_since = (head.id, self._context.now(), head.age_s)
        return self.held_since[2] + self._context.now() - self.held_since[1]

    def _rounded_age_s(self, head: Point) -> float:
        """The age of a commit on `head`: short on the wire, and never early."""
        return min(AGE_MAX_S, math.ceil(self.age_s(head) * TICKS_A_S) / TICKS_A_S)

    def commit(
        self,
        head: Point,
        updates: list[KnownUpdate],
        discarded: tuple[Discarded, ...],
        codec: str,
    ) -> tuple[int, float]:
        """Commit a round; its delta is encoded by `codec`.

        Returns the delta's bytes and |residual| / |change|: how many rounds' worth it leaves for later ones.
        """
        context, view, models, store = self._context, self._view, self._models, self._context.store
        layout = models.layout
        assert layout is not None
        base = models.arrays(head.id)
        onto = RoundContext(
            layout, base, self._previous(head), head.round, view.job.recipe, self._samples,
            partial(self._part, head), post_merge_step_scale(view.graph, head),
        )  # fmt: skip
        outcome = fold(onto, updates, lambda u: payload_bytes(store, u.record.payload))
        keys = [Key(f.node, f.incarnation, f.sequence) for f in outcome.folded]
        discarded += outcome.discarded
        keys += [Key(d.node, d.incarnation, d.sequence) for d in discarded]
        age_s = self._rounded_age_s(head)
        with store.transaction():
            blob, delta, residual, waiting = self._downlink(head, base, outcome, codec)
            down_bytes = min(layout.blob_bytes, delta.size_bytes if delta else layout.blob_bytes)
            spent = spent_after(head, outcome.folded, updates, down_bytes)
            record = Commit(
                view.id, (head.id,), head.round + bool(updates), head.counted.plus(keys).ranges(),
                outcome.folded, self._roster(head), spent, age_s, blob, layout.blob_bytes, delta,
                norm(residual), discarded,
            )  # fmt: skip
            commit_id, announce = context.ledger.keep_unannounced(record)
            residuals.keep(store, "down", view.id, residual, commit_id)
        models.check([commit_id])  # it may be known already, made again after its parameters were lost
        self.held_since = (commit_id, context.now(), age_s)
        announce()
        names = [context.name_of(f.node) for f in outcome.folded]
        late = sum(f.staleness > 0 for f in outcome.folded)
        if updates:
            text = f"round {record.round} committed as {short(commit_id)}: {len(names)} updates"
            text += f" ({late} late)" if late else ""
            context.event("commit", text, job=view.id, node=context.name_of(context.node))
        for d in discarded:
            context.event(
                "error", f"an update of {context.name_of(d.node)} is discarded: {d.reason}", job=view.id
            )

        return down_bytes, waiting

    def mean_of_line(self, head: Point) -> tuple[BlobId, int]:
        """Store the mean of the line's last models as a blob; its id, and the number of models."""
        packed, count = mean_of_line(self._view, self._models, head)
        return self._context.store.put_blob(packed), count

    def close(self, head: Point, blob: BlobId) -> CommitId:
        """Write the closing commit: it counts nothing new and is no round of its own."""
        context, view, layout = self._context, self._view, self._models.layout
        assert layout is not None
        age_s = self._rounded_age_s(head)
        record = Commit(
            view.id, (head.id,), head.round, head.counted.ranges(), (), self._roster(head), head.spent, age_s,
            blob, layout.blob_bytes,
        )  # fmt: skip
        commit_id = context.ledger.publish(record)
        self._models.check([commit_id])
        self.held_since = (commit_id, context.now(), age_s)
        return commit_id

    def _downlink(
        self, head: Point, base: Arrays, outcome: Outcome, codec: str
    ) -> tuple[BlobId, Payload | None, Vector | None, float]:
        """Store the new model; with a lossy codec, as every node will rebuild it from the delta.

        The residual is what the model lacks then; the residual of this node's earlier commits joins the
        change.
        """
        layout, store = self._models.layout, self._context.store
        assert layout is not None
        left = residuals.left_out(store, self._view.id, self._view.graph, head.id)
        if not outcome.folded:
            return store.put_blob(pack(layout, outcome.params)), None, left, 0.0
        change = difference(layout, base, outcome.params)
        if codec == DENSE and left is None:
            return store.put_blob(pack(layout, outcome.params)), None, None, 0.0
        try:
            sent = encode_with_feedback(parse(codec), layout, change, left, head.round)
            blob = store.put_blob(pack(layout, add(layout, base, sent.decoded)))
        except CodecError:  # no message can carry it, as where training diverged: the model goes as a whole
            return store.put_blob(pack(layout, outcome.params)), None, left, 0.0
        waiting = norm(sent.residual) / (norm(flatten(layout, change)) or 1.0)
        return blob, keep_payload(store, codec, sent.message), sent.residual, waiting

    def _previous(self, head: Point) -> Arrays | None:
        """Parameters of the head's parent, which carry the server's momentum; None where there is none."""
        if not self._view.job.recipe.server_momentum or len(head.parents) != 1:
            return None
        return self._models.arrays(head.parents[0]) if self._models.held(head.parents[0]) else None

    def _part(self, head: Point, base: CommitId) -> float:
        """The share of `base` in the head's parameters; 1 for a commit that another one replaced, counting
        all that it counts."""
        if base == head.id:
            return 1.0
        return min(1.0, self._view.graph.influence(base, head.id)) or 1.0

    def _samples(self, node: NodeId) -> int:
        offer = self._view.offers.get(node)
        return offer.samples if offer else 1

    def _roster(self, head: Point) -> tuple[NodeId, ...]:
        return head.roster + tuple(n for n in self._view.offers if n not in head.roster)

    def merge(self, a: Point, b: Point) -> None:
        """Merge two heads: compute first and announce then, as others may ask for the model at once."""
        merge_id, record = merge_of(self._view.id, a.id, b.id)
        with self._context.store.transaction():
            self._models.keep_merge(merge_id, a.id, b.id)
            _, announce = self._context.ledger.keep_unannounced(record)
        announce()
        self._context.event(
            "merge",
            f"branches {short(a.id)} and {short(b.id)} merged as {short(merge_id)}",
            job=self._view.id,
        )
