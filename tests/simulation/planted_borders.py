"""Planted bugs of the borders: what comes in, what dies, what stands still."""

from __future__ import annotations

import contextlib
from typing import Any

from planting import Patch, bug

from muster.job.models.store import ModelStore
from muster.job.participant.trainer_slot import TrainerSlot
from muster.network.supervisor import Supervisor
from muster.network.sync.admission import Admission
from muster.network.sync.attention import Attention
from muster.network.sync.ledger import Ledger
from muster.network.transport.offences import Offences
from muster.storage.memory import MemoryStore


@bug("a background loop that meets an unexpected fault ends for good")
def loops_end() -> list[Patch]:
    async def run(self: Supervisor, loop: Any, work: Any, on_fault: Any) -> None:
        with contextlib.suppress(Exception):
            await work(loop.pulse)

    return [(Supervisor, "_run", run)]


@bug("a stored model is not compared with its hash before anything is built on it")
def rot_unnoticed() -> list[Patch]:
    return [(MemoryStore, "sound", lambda self, blob: True)]


@bug("records are not checked before they are kept")
def takes_anything() -> list[Patch]:
    return [(Admission, "fault", lambda self, record, author: None)]


@bug("a home that holds a record that cannot be gives it to everybody at its start")
def no_quarantine() -> list[Patch]:
    return [(Ledger, "_check_kept", lambda self, stored: None)]


@bug("what a stalled process did not hear counts as the silence of others")
def stall_is_age() -> list[Patch]:
    return [(Attention, "lost_s", lambda self: 0.0)]


@bug("a job that is over does not give the trainer back")
def slot_kept() -> list[Patch]:
    def leave(self: TrainerSlot, job: bytes) -> None:
        self._waiting.pop(job, None)

    return [(TrainerSlot, "leave", leave)]


@bug("a damaged model is noticed, and stays where it is: it is not fetched again")
def rot_kept() -> list[Patch]:
    async def sound(self: ModelStore, commit: bytes) -> bool:
        blob, store = self.blob_of(commit), self._context.store
        held = blob is not None and store.has_blob(blob)
        good = bool(held and await self._context.offload(store.sound, blob))
        if good and blob is not None:
            self._sound_s[blob] = self._context.now()
        return good

    return [(ModelStore, "sound", sound)]


@bug("who goes on sending what nobody can use is neither throttled nor cut off")
def never_throttled() -> list[Patch]:
    return [(Offences, "add", lambda self, node, sentence: False)]


@bug("a node that was cut off once is never heard again")
def cut_for_good() -> list[Patch]:
    def cut(self: Offences, node: bytes) -> bool:
        known = self._known.get(node)
        return known is not None and known.cut_until_s > 0.0

    return [(Offences, "cut", cut)]
