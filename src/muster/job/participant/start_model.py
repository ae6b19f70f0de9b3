"""Makes a job's first model from the job's seed, so that it need not be fetched."""

from __future__ import annotations

from itertools import islice

from muster.job.context import Context, TrainerLike
from muster.job.models.store import ModelStore
from muster.job.view import JobView
from muster.protocol.records import CommitId

START_S = 60.0  # for the trainer to make the model; after that it is fetched


class StartModel:
    """The first model of one job, while the trainer here may still make it: one model fewer to send."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self._opened_s = context.now()
        self._tried = False

    def expected(self) -> frozenset[CommitId]:
        """The job's first commit while its model may still be made here; empty: it has to be fetched."""
        if self._tried or self._context.now() - self._opened_s > START_S:
            return frozenset()
        points = self._view.graph.points.values()
        return frozenset(p.id for p in islice(points, 1) if not p.parents)

    async def make(self, trainer: TrainerLike) -> None:
        """Let the trainer make the seed's fresh model; it is kept if the job begins from it, to the bit."""
        wanted = [c for c in self.expected() if not self._models.held(c)]
        try:
            if wanted:
                before = {blob for blob, _ in self._context.store.blobs()}
                blob = await trainer.fresh(self._view.job.recipe.seed)
                used = blob in before or any(self._models.blob_of(c) == blob for c in wanted)
                if blob is not None and not used:  # the job begins from something else
                    self._context.store.delete_blob(blob)
                self._models.check(wanted)
        finally:
            self._tried = True
            self._context.changes.notify()
