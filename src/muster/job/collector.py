"""Deletes what a job does not need any more: payloads of counted updates, shared samples of a job that is
over, and old parameters on a full disk.

`models.retention` decides which may go; this module knows what is in use on this node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from muster.history.counted import Key
from muster.job.context import Context
from muster.job.coordinator.contribution_estimator import ContributionEstimator
from muster.job.models.retention import collectable, delta_of, pinned, spent_payloads
from muster.job.models.store import ModelStore
from muster.job.participant.frozen_part import FrozenPart
from muster.job.session import TrainerSession
from muster.job.sharing.pool import SharedPool
from muster.job.view import JobView
from muster.protocol.ids import BlobId, CommitId
from muster.storage.store import StorageError

COLLECT_S = 10.0
COLLECT_APART_S = 2.0  # of what is here for others only: whoever waits for room asks again within seconds
ROOM_SHARE = 0.1  # of the disk limit that is made free when it is passed
# Of it for what is here for others only, at the time of collecting: the rest is room for what they want next.
RELAYED_SHARE = 0.5


class GarbageCollector:
    """Deletes blobs of one job, and never one that this or another job of the node needs."""

    def __init__(
        self,
        context: Context,
        view: JobView,
        models: ModelStore,
        session: TrainerSession,
        contributions: ContributionEstimator,
        frozen: FrozenPart,
        pool: SharedPool,
        *,
        needed_by_others: Callable[[], set[BlobId]],
        apart: Callable[[], bool],
    ) -> None:
        """`needed_by_others()`: blobs that this node's other jobs cannot do without. `apart()`: whether this
        node takes no part, so that all it has of the job is here for others."""
        self._context, self._view, self._models = context, view, models
        self._session, self._contributions, self._frozen = session, contributions, frozen
        self._pool = pool
        self._needed_by_others, self._apart = needed_by_others, apart
        self._done_with: set[Key] = set()  # updates whose payloads are not needed here any more
        self._collected_s = -COLLECT_S
        # at the last time: how many updates, which heads, and updates without their contribution
        self._collected: tuple[int, list[CommitId], set[Key]] = (0, [], set())

    def collect(self) -> None:
        """Delete what may go, now and then."""
        now = self._context.now()
        if now < self._collected_s + (COLLECT_APART_S if self._apart() else COLLECT_S):
            return
        self._collected_s = now
        with contextlib.suppress(StorageError):  # a full disk may refuse even that
            self._forget_payloads()
            self._forget_samples()
            limit_bytes = self._context.policy.disk_limit_bytes
            used_bytes = self._context.store.used_bytes()
            if self._apart() and used_bytes > limit_bytes * RELAYED_SHARE:
                self._forget_relayed()
                self._make_room(self._context.store.used_bytes() - limit_bytes * RELAYED_SHARE)
            elif used_bytes > limit_bytes:
                self._make_room(used_bytes - limit_bytes * (1 - ROOM_SHARE))

    def tidy(self) -> None:
        """Forget what is far behind the heads, while the job is still being read."""
        if self._view.updates or self._view.plans:
            with contextlib.suppress(StorageError):
                self._forget_payloads()

    def needs(self) -> set[BlobId]:
        """Blobs that this job cannot do without; other jobs of this node may have the same."""
        points = (self._view.graph.points[c] for c in self.needed_commits())
        blobs = {b for p in points for b in (self._models.blob_of(p.id), delta_of(p)) if b is not None}
        blobs |= self._payloads_in_use() | self._pool.needs()
        return blobs | self._being_evaluated() | self._frozen.needs()

    def _forget_samples(self) -> None:
        """Delete shared samples that are not needed any more, this node's own, too."""
        gone = self._pool.gone()
        for blob in sorted(gone - self._needed_by_others() if gone else ()):
            self._context.store.delete_blob(blob)  # also what came of it since, for a neighbour

    def _forget_payloads(self) -> None:
        """Delete payloads of updates that the heads count; forget updates that are far behind the heads."""
        heads = self._models.heads()
        unestimated = self._contributions.keys()
        state = len(self._view.updates), [h.id for h in heads], unestimated
        if state == self._collected:
            return
        spent = set(spent_payloads(self._view, heads, self._done_with, unestimated))
        if spent:
            spent -= self._payloads_in_use() | self._needed_by_others()
        for blob in sorted(spent):
            self._context.store.delete_blob(blob)  # also what came of one that is not complete
        self._view.trim(heads)
        self._done_with &= self._view.updates.keys()
        self._collected = len(self._view.updates), *state[1:]

    def _forget_relayed(self) -> None:
        """Delete payloads that were fetched for others, as far as a known head counts them or a neighbour was
        given them: whoever asks for one again asks its author."""
        counted, passed_on = set[Key](), self._context.transfers.passed_on
        spent = set(spent_payloads(self._view, self._models.known_heads(), counted))
        uncounted = [u.record.payload.blob for key, u in self._view.updates.items() if key not in counted]
        uncounted += self._pool.needs()
        waiting = {blob for blob in uncounted if blob is not None and not passed_on(blob)}
        spent |= {blob for blob in uncounted if blob is not None and passed_on(blob)}
        for blob in sorted(spent - waiting - self._needed_by_others()):
            self._context.store.delete_blob(blob)

    def _make_room(self, bytes_: float) -> None:
        """Delete parameters far behind the heads."""
        store, models = self._context.store, self._models
        kept = self._needed_by_others() | self._being_evaluated() | self._frozen.needs()
        gone = []
        frozen = self._view.job.frozen
        for blob in collectable(self._view.graph, self.needed_commits(), models.blob_of, frozen):
            size_bytes = store.blob_size(blob)
            if size_bytes is not None and blob not in kept and bytes_ > 0:
                gone.append(blob)
                bytes_ -= size_bytes
        models.drop(gone)

    def needed_commits(self) -> set[CommitId]:
        """Commits whose parameters stay whatever the disk limit says."""
        participant = self._session.participant
        working = participant.working_on if participant else None
        heads = {p.id: p for p in [*self._models.heads(), *self._models.known_heads()]}
        if self._apart():
            heads = {}
        in_use = [*([working] if working else []), *self._contributions.bases(), *self._models.in_use()]
        best = None if self._apart() else self._view.best(self._models.held)
        in_use += [best.id] if best is not None else []  # a job ends with it where the last one is no better
        return pinned(self._view.graph, heads.values(), in_use)

    def _payloads_in_use(self) -> set[BlobId]:
        """Of updates that no head counts yet or whose contribution is to be estimated; two may be equal."""
        updates = self._view.updates.items()
        blobs = (u.record.payload.blob for key, u in updates if key not in self._done_with)
        return {blob for blob in blobs if blob is not None}

    def _being_evaluated(self) -> set[BlobId]:
        """Models that wait for their figures: a head may be none any more when the trainer comes to it."""
        participant = self._session.participant
        return set(participant.trainer.evaluating) if participant is not None else set()
