"""Sums up a job that leaves memory (see `retired`)."""

from __future__ import annotations

from muster.job.models.retention import collectable
from muster.job.retirement.retired import RetiredJob
from muster.job.runner import JobRunner

OLD_MODELS_MAX = 1000  # blobs of one job that are listed to be deleted


def summary(runner: JobRunner) -> RetiredJob:
    """What is to be kept of a job."""
    view, head = runner.view, runner.head()
    figures = view.figures(head.id) if head is not None else None
    needs = runner.needs()
    has = runner.context.store.has_blob
    old = collectable(view.graph, runner.needed_commits(), runner.models.blob_of, view.job.frozen)
    old_models = [blob for blob in old if blob not in needs and has(blob)]
    return RetiredJob(
        task=view.job.task,
        asker=view.asker,
        state=runner.state(),
        why=runner.finished() or "",
        round=head.round if head is not None else 0,
        rounds=view.job.stop.rounds,
        metric=view.headline.name,
        figure=figures.value(view.headline) if figures is not None else None,
        age_s=head.age_s if head is not None else 0.0,
        spent_bytes=sum(s.bytes for s in head.spent) if head is not None else 0,
        needs=tuple(sorted(b for b in needs if has(b))),
        old_models=tuple(old_models[:OLD_MODELS_MAX]),
        adapts=bool(view.job.like),
    )
