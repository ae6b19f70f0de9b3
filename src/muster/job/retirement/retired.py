"""What stays in the store of a job that is at rest: enough to list it and to leave its models alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from muster.protocol.ids import BlobId, JobId, NodeId
from muster.storage.store import Store

IN_MEMORY_MAX = 64
_SETTLED = "retired/settled"


@dataclass(frozen=True)
class JobLimits:
    """How many jobs are kept in memory, and for how long."""

    in_memory: int = IN_MEMORY_MAX
    at_rest: int = 8  # of them
    rest_s: float = 60.0  # so long at rest, and a job may leave memory ...
    quiet_s: float = 600.0  # ... or so long without a record of it, if there is no room for another
    look_s: float = 10.0


class RetiredJob(msgspec.Struct, frozen=True, array_like=True):
    """A job as it was when it was retired."""

    task: str
    asker: NodeId
    state: str
    why: str
    round: int
    rounds: int | None  # that it was to do
    metric: str  # its headline
    figure: float | None
    age_s: float
    spent_bytes: int
    needs: tuple[BlobId, ...]  # that stay whatever the disk limit says
    old_models: tuple[BlobId, ...]  # that go when the disk limit is passed, oldest first
    adapts: bool = False  # it was for nodes with a like need


@dataclass
class StoredJobs:
    """The jobs of a node that are not in memory."""

    store: Store
    disk_limit_bytes: int
    waiting: dict[JobId, None] = field(default_factory=dict)  # not at rest: there is no room for them
    needs: dict[JobId, tuple[BlobId, ...]] = field(default_factory=dict)  # blobs that stay
    _bare: set[JobId] = field(default_factory=set)  # there is nothing to delete

    def forget(self, job: JobId) -> None:
        """A job is in memory again."""
        self.waiting.pop(job, None)
        self.needs.pop(job, None)
        self._bare.discard(job)

    def delete_old_models(self, needed: Callable[[], set[BlobId]]) -> None:
        """Over the disk limit old parameters of retired jobs go first."""
        over_bytes = self.store.used_bytes() - self.disk_limit_bytes
        for job in self.needs if over_bytes > 0 else ():
            if job not in self._bare and job not in self.waiting:
                over_bytes -= delete_old_models(self.store, job, needed(), over_bytes)
                self._bare.add(job)
                if over_bytes <= 0:
                    return


def keep(store: Store, job: JobId, retired: RetiredJob) -> None:
    """Keep it, and up to which record of the store all jobs have taken in what is theirs."""
    with store.transaction():
        store.set_state(_key(job), msgspec.msgpack.encode(retired))
        store.set_state(_SETTLED, msgspec.msgpack.encode(store.last_sequence()))


def forget(store: Store, job: JobId) -> None:
    """The job goes on: the next start loads it."""
    store.set_state(_key(job), None)


def load(store: Store, job: JobId) -> RetiredJob | None:
    """A job that is retired, as it was then; None: it is not."""
    kept = store.state(_key(job))
    return None if kept is None else msgspec.msgpack.decode(kept, type=RetiredJob)


def delete_old_models(store: Store, job: JobId, needed: set[BlobId], bytes_: float) -> int:
    """Delete old parameters of a retired job, until so many bytes are free; how many that were."""
    retired, freed = load(store, job), 0
    for blob in retired.old_models if retired is not None else ():
        size_bytes = store.blob_size(blob) if blob not in needed else None
        if size_bytes is not None and freed < bytes_:
            store.delete_blob(blob)
            freed += size_bytes
    return freed


def unsettled(store: Store) -> set[JobId]:
    """Jobs with records that came after the last job was retired: perhaps they have not taken them in."""
    kept = store.state(_SETTLED)
    after = 0 if kept is None else msgspec.msgpack.decode(kept, type=int)
    found: set[JobId] = set()
    while kept is not None and (page := store.since(after, 500)):
        found |= {stored.job for stored in page}
        after = page[-1].sequence
    return found


def _key(job: JobId) -> str:
    return "retired/" + job.hex()
