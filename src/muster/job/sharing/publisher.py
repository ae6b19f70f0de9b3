"""Shares this node's samples with one job, as its owner allows, and looks at those of others before use."""

from __future__ import annotations

import asyncio

import msgspec

from muster.errors import MusterError
from muster.job.context import Context, MadeSamples
from muster.job.participant.shared_trainer import SharedTrainer
from muster.job.participant.update_writer import node_seed
from muster.job.sharing.assistance import Assistance
from muster.job.sharing.pool import SharedPool
from muster.job.sharing.rules import SHARE_BYTES_MIN, has_data, room_bytes
from muster.job.view import JobView
from muster.network.supervisor import Pulse
from muster.protocol.ids import BlobId, JobId
from muster.protocol.parts import Payload
from muster.protocol.quantities import size_text
from muster.protocol.records import Shared
from muster.protocol.validation.limits import SEQUENCE_MAX, SHARED_CODEC
from muster.storage.store import StorageError, Store

MORE = 2.0  # times as many bytes, for which samples are made again: helpers came, or links turned out faster
TRIES_MAX = 2  # of making samples, where the trainer dies of it
ROOM_RETRY_S = 10.0  # between two tries to write to a full disk
KINDS = {  # what a kind of coreset is, for the node's owner
    "samples": "real samples of its data",
    "medoids": "real samples of its data",
    "means": "means of 20 samples of its data each, or more,",
    "robust": "centres of its data, some of them real samples,",
}


class Noted(msgspec.Struct, array_like=True, frozen=True):
    """What a node notes beside the record of what it shared: when by the wall clock, and bits an input."""

    at_s: float
    bits: int


def noted(store: Store, job: JobId, blob: BlobId) -> Noted | None:
    """What was noted when this node shared samples with a job; None: its disk was lost since."""
    kept = store.state(_key(job, blob))
    return None if kept is None else msgspec.msgpack.decode(kept, type=Noted)


def _key(job: JobId, blob: BlobId) -> str:
    return f"shared/{job.hex()}/{blob.hex()}"


class Publisher:
    """Makes this node's samples once a job and incarnation, and again when their blob is lost."""

    def __init__(self, context: Context, view: JobView, pool: SharedPool) -> None:
        self._context, self._view, self._pool = context, view, pool
        self._assistance = Assistance(context, view)
        self._tries = 0
        self._room = 0  # that was filled last

    async def share_first(self, trainer: SharedTrainer) -> None:
        """Share before this node offers, so that who knows its offer knows whether samples of it come.

        Raises ChildProcessError.
        """
        if self._due():
            await self._share(trainer)

    async def run(self, trainer: SharedTrainer, pulse: Pulse) -> None:
        """Share and look at what comes, until cancelled. Raises ChildProcessError."""
        while True:
            pulse.renew(None)
            if self._due():
                await self._share(trainer)
            elif (found := self._pool.unseen()) is not None:
                await self._look_at(trainer, *found)
            else:
                await self._context.changes.wait()

    def _due(self) -> bool:
        """Whether this node's samples are to be made: for the first time, or as disk or blob were lost."""
        context, view = self._context, self._view
        none = view.shares_none is not None or "none" in (view.job.share, context.policy.share.share)
        if none or self._pool.over() or not has_data(view, context.node):
            return False
        mine = view.shared.get(context.node)
        if mine is None or mine.incarnation != context.store.incarnation:
            return self._helpers_known()
        if mine.payload.blob is None or not context.store.has_blob(mine.payload.blob):
            return True
        return self._helped() and self._room_bytes() >= MORE * max(self._room, mine.payload.size_bytes)

    def _helpers_known(self) -> bool:
        """Whether it is known who helps, where this node asks: what it shares is as large as that wants."""
        view = self._view
        return view.asker != self._context.node or bool(
            view.job.one_shot or view.plans or self._assistance.helpers()
        )

    def _helped(self) -> bool:
        """Whether others train in the place of this node, which asks."""
        return self._view.asker == self._context.node and self._assistance.room_bytes() is not None

    def _room_bytes(self) -> int:
        """What the samples may take: of an asker whom others help as many as pay, else what the job says."""
        wanted = self._assistance.room_bytes() if self._view.asker == self._context.node else None
        return min(wanted or room_bytes(self._view), self._context.policy.share.bytes_max)

    async def _share(self, trainer: SharedTrainer) -> None:
        context, view, policy = self._context, self._view, self._context.policy.share
        room = self._room_bytes()
        if room < SHARE_BYTES_MIN:
            self._say_none(f"{size_text(room)} are too few for a sample")
            return
        if self._tries >= TRIES_MAX:
            self._say_none("the trainer died while it made them")
            return
        self._tries += 1
        self._room = room
        seed = node_seed(view.job.recipe.seed, context.node, 0)
        try:
            async with trainer.lock.exclusive():
                made = await trainer.child.share(room, policy.share == "means", policy.classes, seed)
        except MusterError as error:
            self._say_none(error.sentence)
            return
        self._tries = 0
        if isinstance(made, str):
            self._say_none(made)
            return
        try:
            said = self._keep(made)
        except StorageError as error:
            context.event("error", f"waits for room for the samples it shares: {error}", job=view.id)
            await asyncio.sleep(ROOM_RETRY_S)
            return
        context.event("share", said, job=view.id)

    def _keep(self, made: MadeSamples) -> str:
        """Keep the samples with their record, and announce it; what is said of them."""
        context, view = self._context, self._view
        mine, store = view.shared.get(context.node), context.store
        with store.transaction():
            blob = store.put_staged(made.staged)
            self._pool.seen(blob, "")
            if mine is not None and mine.payload.blob == blob and mine.incarnation == store.incarnation:
                return f"has the {mine.samples} samples again that it shares with this job"
            number = 1 if mine is None else min(SEQUENCE_MAX, mine.number + 1)
            payload = Payload(SHARED_CODEC, made.staged.size_bytes, blob=blob)
            record = Shared(
                view.id, store.incarnation, number, made.kind, made.samples, made.stands_for, payload
            )
            if noted(store, view.id, blob) is None:
                note = Noted(context.wall_s(), made.bits)
                store.set_state(_key(view.id, blob), msgspec.msgpack.encode(note))
            _, announce = context.ledger.keep_unannounced(record)
        announce()
        size = size_text(payload.size_bytes)
        return f"shares {made.samples} {KINDS[made.kind]} ({size}) with this job"

    def _say_none(self, why: str) -> None:
        self._view.shares_none = why
        self._context.event("share", f"shares no samples with this job: {why}", job=self._view.id)
        self._context.changes.notify()

    async def _look_at(self, trainer: SharedTrainer, node: bytes, record: Shared) -> None:
        """Have samples of another node compared with their record and with this node's task.

        The trainer's other work waits for it: a coordinator that trains all the time would never get to it.
        """
        context, blob = self._context, record.payload.blob
        assert blob is not None
        try:
            async with trainer.lock.exclusive():
                fault = await trainer.child.check_samples(blob, record)
        except (MusterError, KeyError, OSError) as error:  # or it was deleted meanwhile
            fault = str(error)
        if not context.store.has_blob(blob):
            return
        self._pool.seen(blob, fault)
        if fault:
            text = f"the samples that {context.name_of(node)} shares are refused: {fault}"
            context.event("error", text, job=self._view.id)
        context.changes.notify()
