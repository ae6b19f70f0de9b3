"""Makes a job's first model from the job's seed, so that it need not be fetched."""

from __future__ import annotations

from itertools import islice

from muster.job.context import Context, TrainerLike
from muster.job.models.store import ModelStore
from muster.job.view import JobView
from muster.protocol.ids import CommitId

START_S = 60.0  # for the trainer to make the model; after that it is fetched as well


class StartModel:
    """The first model of one job, which the trainer here may make: one model fewer to send, and the only
    start of a job whose asker is gone."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self._opened_s = context.now()
        self._tried: set[CommitId] = set()

    def expected(self) -> frozenset[CommitId]:
        """The job's first commit while its model may still be made here; empty: it has to be fetched."""
        if self._context.now() - self._opened_s > START_S:
            return frozenset()
        return frozenset(self._roots() - self._tried)

    def due(self) -> bool:
        """Whether the first commit is known and its model is neither here nor was tried to be made."""
        return any(not self._models.held(c) for c in self._roots() - self._tried)

    async def make(self, trainer: TrainerLike) -> None:
        """Let the trainer make the seed's fresh model; it is kept if the job begins from it, to the bit."""
        roots = self._roots()
        wanted = [c for c in sorted(roots - self._tried) if not self._models.held(c)]
        try:
            if wanted:
                before = {blob for blob, _ in self._context.store.blobs()}
                blob = await trainer.fresh(self._view.job.recipe.seed)
                used = blob in before or any(self._models.blob_of(c) == blob for c in wanted)
                if blob is not None and not used:  # the job begins from something else
                    self._context.store.delete_blob(blob)
                self._models.check(wanted)
        finally:
            self._tried |= roots
            self._context.changes.notify()

    def _roots(self) -> set[CommitId]:
        points = self._view.graph.points.values()
        return {p.id for p in islice(points, 1) if not p.parents}
