"""The shared samples that a node trains on in the place of others: which are usable here, and as blobs."""

from __future__ import annotations

from muster.job.context import Context
from muster.job.models.payloads import DamagedPayload, payload_held, sound_payload_bytes
from muster.job.sharing import rules
from muster.job.view import JobView
from muster.protocol.ids import BlobId, NodeId
from muster.protocol.parts import Assignment
from muster.protocol.records import Shared


class SharedSamples:
    """Of one job, by its view. What failed here is forgotten with the process."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view

    def ready(self) -> dict[NodeId, Shared]:
        """Those that may be trained on here now, by node."""
        context = self._context
        return rules.ready(
            self._view, context.ledger.trust.revoked, lambda payload: payload_held(context.store, payload)
        )

    def all_ready(self, assignment: Assignment) -> bool:
        """Whether what an assignment trains on is here. Of its own a node takes the data themselves."""
        others = {node for node in assignment.data if node != self._context.node}
        return not others or others <= self.ready().keys()

    def fault(self, assignment: Assignment) -> str | None:
        """Why what an assignment trains on can never be trained on here; None: as far as is known, it can."""
        context, view = self._context, self._view
        for node in (n for n in assignment.data if n != context.node):
            blob = view.shared[node].payload.blob if node in view.shared else None
            if blob is not None and view.seen_samples.get(blob):
                return (
                    f"the samples that {context.name_of(node)} shares are refused: {view.seen_samples[blob]}"
                )
            if blob is not None and view.sample_failures[blob] >= rules.FAILURES_MAX:
                return f"the trainer failed over the samples that {context.name_of(node)} shares"
        return None

    async def blobs(self, assignment: Assignment) -> tuple[tuple[BlobId, float], ...] | None:
        """What an assignment trains on, each with the number of samples that it stands for.

        None where a blob has lost bits since it came: it is deleted, and fetched again.
        """
        store, found = self._context.store, list[tuple[BlobId, float]]()
        for node in (n for n in assignment.data if n != self._context.node):
            payload = self._view.shared[node].payload
            assert payload.blob is not None
            try:
                await self._context.offload(sound_payload_bytes, store, payload)
            except DamagedPayload:
                store.delete_blob(payload.blob)
                text = f"the samples of {self._context.name_of(node)} were damaged on this disk"
                self._context.event("error", f"{text}: they are fetched again", job=self._view.id)
                return None
            except KeyError:  # deleted meanwhile
                return None
            found.append((payload.blob, float(rules.stands_for(self._view, node))))
        return tuple(found)

    def failed(self, assignment: Assignment) -> None:
        """A trainer failed over these samples."""
        for node in assignment.data:
            self._view.sample_failures[self._view.shared[node].payload.blob or b""] += 1
