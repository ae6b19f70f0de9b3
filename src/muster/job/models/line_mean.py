"""The mean of a line's last models, which a job may close with because the rounds' jitter cancels in it."""

from __future__ import annotations

import hashlib

from muster.algorithms.merging import mean
from muster.compression.tensors import pack
from muster.history.graph import Point
from muster.job.models.store import ModelStore
from muster.job.view import JobView
from muster.protocol.records import Commit
from muster.storage.store import Store


def mean_of_line(view: JobView, models: ModelStore, head: Point) -> tuple[bytes, int]:
    """The packed mean of the held models up to `head`, at most as many as the recipe averages; how many."""
    assert models.layout is not None
    line = [head]
    while len(line) < view.job.recipe.average and len(line[-1].parents) == 1:
        before = view.graph.points[line[-1].parents[0]]
        if not before.folded or not models.held(before.id):
            break
        line.append(before)
    arrays = mean(models.layout, (models.arrays(point.id) for point in line))
    return pack(models.layout, arrays), len(line)


def keep_mean_of_line(view: JobView, models: ModelStore, store: Store, record: Commit) -> bool:
    """Whether a commit's parameters are the mean of a line whose models are held; they are kept then."""
    closes = len(record.parents) == 1 and not record.folded and view.job.recipe.average > 1
    if not closes or models.layout is None or not models.held(record.parents[0]):
        return False
    packed, _ = mean_of_line(view, models, view.graph.points[record.parents[0]])
    if hashlib.sha256(packed).digest() != record.params:
        return False
    store.put_blob(packed)
    return True
