"""The blobs that one node fetches, by id."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from muster.network.blobs.fetch.blob_fetch import BlobFetch
from muster.network.blobs.limits import TransferLimits
from muster.protocol.ids import BlobId
from muster.storage.store import Store


class FetchTable:
    """What is being fetched now: one fetch a blob, and none that has ended."""

    def __init__(self) -> None:
        self._fetches: dict[BlobId, BlobFetch] = {}

    def __len__(self) -> int:
        return len(self._fetches)

    def __iter__(self) -> Iterator[BlobFetch]:
        """In the order in which they began; the table may change meanwhile."""
        return iter(list(self._fetches.values()))

    def __contains__(self, blob: object) -> bool:
        """Whether it is being fetched."""
        return blob in self._fetches

    def add(self, fetch: BlobFetch) -> None:
        self._fetches[fetch.blob] = fetch

    def remove(self, fetch: BlobFetch) -> None:
        if self.goes_on(fetch):
            del self._fetches[fetch.blob]

    def find(self, blob: BlobId) -> BlobFetch | None:
        return self._fetches.get(blob)

    def all(self) -> list[BlobFetch]:
        """The first to be asked for first."""
        return sorted(self._fetches.values(), key=lambda fetch: fetch.order)

    def goes_on(self, fetch: BlobFetch) -> bool:
        return self._fetches.get(fetch.blob) is fetch

    def own_count(self) -> int:
        return sum(1 for fetch in self._fetches.values() if fetch.own)

    def may_relay(
        self, size_bytes: int, limits: TransferLimits, store: Store, ours: Callable[[], bool]
    ) -> bool:
        """Whether one more blob may be fetched for others: within the bounds of relays, and within the disk
        limit if all comes that is being fetched for others.

        Two things pass beyond the disk limit.  Records are kept for ever: a node whose records alone are over
        the limit would cut off whoever is behind it, so blobs may have `blob_share` of it in any case.  And
        `ours` says whether this node's own work waits for the blob to pass.
        """
        relays = [fetch for fetch in self._fetches.values() if not fetch.own]
        total_bytes = size_bytes + sum(fetch.size_bytes for fetch in relays)
        if len(relays) >= limits.relays_max or total_bytes > limits.relay_bytes_max:
            return False
        limit_bytes = limits.disk_limit_bytes
        if limit_bytes is None:
            return True
        coming = (fetch for fetch in relays if fetch.active or fetch.held_bytes)  # others have no source yet
        coming_bytes = size_bytes + sum(fetch.size_bytes - fetch.held_bytes for fetch in coming)
        if store.used_bytes() + coming_bytes <= limit_bytes or ours():
            return True
        whole_bytes = sum(size_bytes for _, size_bytes in store.blobs())
        arrived_bytes = sum(fetch.held_bytes for fetch in relays)
        return whole_bytes + arrived_bytes + coming_bytes <= limit_bytes * limits.blob_share
