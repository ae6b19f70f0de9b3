"""The shared samples that a node trains on in the place of others: which are usable here, and as blobs."""

from __future__ import annotations

from muster.job.context import Context
from muster.job.models.payloads import DamagedPayload, payload_held, sound_payload_bytes
from muster.job.view import JobView
from muster.protocol.records import Assignment, BlobId, NodeId

FAILURES_MAX = 2  # of a trainer over the same samples: by then it is them


class SharedSamples:
    """Of one job, by its view. What failed here is forgotten with the process."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view

    def held(self, node: NodeId) -> bool:
        """Whether a node's samples are here, and no trainer failed over them."""
        shared, view = self._view.shared.get(node), self._view
        if shared is None or not payload_held(self._context.store, shared.payload):
            return False
        return view.sample_failures[shared.payload.blob or shared.payload.inline or b""] < FAILURES_MAX

    def all_held(self, assignment: Assignment) -> bool:
        """Whether what an assignment trains on is here. Of its own a node takes the data themselves."""
        return all(self.held(node) for node in assignment.data if node != self._context.node)

    async def blobs(self, assignment: Assignment) -> tuple[tuple[BlobId, float], ...] | None:
        """What an assignment trains on, each with the number of samples that it stands for.

        None where a blob has lost bits since it came: it is deleted, and fetched again.
        """
        store, found = self._context.store, list[tuple[BlobId, float]]()
        for node in (n for n in assignment.data if n != self._context.node):
            shared = self._view.shared[node]
            if shared.payload.blob is None:
                assert shared.payload.inline is not None
                blob = store.put_blob(shared.payload.inline)
            else:
                blob = shared.payload.blob
                try:
                    await self._context.offload(sound_payload_bytes, store, shared.payload)
                except DamagedPayload:
                    store.delete_blob(blob)
                    text = f"the samples of {self._context.name_of(node)} were damaged on this disk"
                    self._context.event("error", f"{text}: they are fetched again", job=self._view.id)
                    return None
                except KeyError:  # deleted meanwhile
                    return None
            found.append((blob, float(shared.stands_for)))
        return tuple(found)

    def failed(self, assignment: Assignment) -> None:
        """A trainer failed over these samples."""
        for node in assignment.data:
            payload = self._view.shared[node].payload
            self._view.sample_failures[payload.blob or payload.inline or b""] += 1
