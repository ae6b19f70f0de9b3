"""The mean of a line's last models, which a job may close with because the rounds' jitter cancels in it."""

from __future__ import annotations

from collections.abc import Callable

from muster.algorithms.merging import mean
from muster.compression.tensors import Layout
from muster.history.point import Point
from muster.job.context import Context
from muster.job.models.store import ModelStore
from muster.job.models.stored import Arrays, stage_arrays
from muster.job.view import JobView
from muster.protocol.records import Commit
from muster.storage.store import Blobs, StagedBlob


async def mean_of_line(
    context: Context, view: JobView, models: ModelStore, head: Point
) -> tuple[StagedBlob, int]:
    """The mean of the held models up to `head`, at most as many as the recipe averages; how many.

    Raises KeyError when one of them was deleted meanwhile.
    """
    form = models.form_of(head.id)
    assert form is not None
    line = [head]
    while len(line) < view.job.recipe.average and len(line[-1].parents) == 1:
        before = view.graph.points[line[-1].parents[0]]
        if not before.updates or view.graph.prunes(line[-1]) or not await models.sound(before.id):
            break
        line.append(before)
    with models.using({point.id for point in line}):
        readers: list[Callable[[], Arrays]] = [models.reader(point.id) for point in line]
        made = await context.compute(form.layout.size_bytes)(_stage_mean, context.store, form.layout, readers)
    return made, len(line)


def _stage_mean(store: Blobs, layout: Layout, readers: list[Callable[[], Arrays]]) -> StagedBlob:
    return stage_arrays(store, layout, mean(layout, (read() for read in readers)))


async def keep_mean_of_line(context: Context, view: JobView, models: ModelStore, record: Commit) -> bool:
    """Whether a commit's parameters are the mean of a line whose models are held; they are kept then."""
    closes = len(record.parents) == 1 and not record.folded and view.job.recipe.average > 1
    if not closes or models.form_of(record.parents[0]) is None or not models.held(record.parents[0]):
        return False
    try:
        made, _ = await mean_of_line(context, view, models, view.graph.points[record.parents[0]])
    except KeyError:
        return False
    if made.blob != record.params:
        return False
    context.store.put_staged(made)
    return True
