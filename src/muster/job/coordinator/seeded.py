"""Whether a job begins from the seed's model, which every node can make: known at its asker."""

from __future__ import annotations

from muster.protocol.ids import JobId
from muster.storage.store import Store


def keep_from_seed(store: Store, job: JobId) -> None:
    """Keep at the asker that its job begins from the seed's model."""
    store.set_state(_key(job), b"1")


def from_seed(store: Store, job: JobId) -> bool:
    """Whether this node asked for the job and it begins from the seed's model."""
    return store.state(_key(job)) is not None


def _key(job: JobId) -> str:
    return "seeded/" + job.hex()
