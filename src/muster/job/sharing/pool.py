"""The shared samples of one job on this node: what it gets, keeps and deletes, and what may be trained on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from muster.job.context import Context
from muster.job.models.store import ModelStore
from muster.job.roles import finished, newest, pieces
from muster.job.sharing import rules
from muster.job.view import JobView
from muster.protocol.ids import BlobId, NodeId
from muster.protocol.parts import Payload
from muster.protocol.records import Shared


class SharedPool:
    """Follows from the records, from what is held, and from what was looked at here."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models

    def over(self) -> bool:
        """Whether the job needs no samples any more."""
        return finished(self._view, self._models.known_heads()) is not None

    def usable(self) -> dict[NodeId, Shared]:
        """Shared samples that may be trained on, held here or not."""
        return {} if self.over() else rules.usable(self._view, self._context.ledger.trust.revoked)

    def unseen(self) -> tuple[NodeId, Shared] | None:
        """Samples that are here and that this process did not look at yet."""
        store = self._context.store
        for node, record in self.usable().items():
            blob = _blob(record)
            if blob not in self._view.seen_samples and store.has_blob(blob):
                return node, record
        return None

    def seen(self, blob: BlobId, fault: str) -> None:
        """Note what is wrong with samples that are here; "": nothing."""
        self._view.seen_samples[blob] = fault

    def wanted(self, *, acting: bool, carries: bool) -> list[Payload]:
        """What this node is to get: as the coordinator (`acting`), as the next one in rank, so that samples
        outlive the coordinator, to bring them to a coordinator that is not heard (`carries`), or to train on
        them as a plan says."""
        store, me = self._context.store, self._context.node
        lacking = {n: r.payload for n, r in self.usable().items() if not store.has_blob(_blob(r))}
        if not lacking or acting:
            return list(lacking.values())
        mine = self._asked()
        if not rules.has_data(self._view, me):  # it helps with nothing else
            mine.add(self._view.asker)
        if self._context.relays():
            ranked = list(islice(self._ranked(), 3))
            mine |= {n for n in lacking if carries or me in [m for m in ranked if m != n][:2]}
        return [payload for node, payload in lacking.items() if node in mine]

    def needs(self) -> set[BlobId]:
        """Blobs that stay while the job goes on."""
        return {_blob(record) for record in self.usable().values()}

    def gone(self) -> set[BlobId]:
        """Blobs that nobody is to have any more: of a job that is over, of a revoked node, or replaced."""
        return rules.named(self._view) - self.needs()

    def _asked(self) -> set[NodeId]:
        """Nodes on whose samples a plan asks this one to train."""
        plans = (p for h in self._models.known_heads() for p in self._view.plans.get(h.id, {}).values())
        return {n for p in plans for a in pieces(p.record, self._context.node) for n in a.data}

    def _ranked(self) -> Iterator[NodeId]:
        """The participants in reach, by rank."""
        context, heads = self._context, self._models.heads()
        for node in newest(heads).roster if heads else ():
            near = node == context.node or context.presence.lively(node)
            if near and node not in self._view.refusals:
                yield node


def _blob(record: Shared) -> BlobId:
    blob = record.payload.blob
    assert blob is not None  # as `protocol.validation` holds it
    return blob
