"""The mean of a line's last models, which a job may close with because the rounds' jitter cancels in it.

Stochastic weight averaging: Izmailov et al., UAI 2018, arXiv 1803.05407.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from muster.compression.tensors import Layout, pack
from muster.history.graph import Point
from muster.job.models.store import Arrays, ModelStore
from muster.job.view import JobView
from muster.protocol.records import Commit, CommitId
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
    return pack(models.layout, _mean(models.layout, models, [p.id for p in line])), len(line)


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


def _mean(layout: Layout, models: ModelStore, commits: Sequence[CommitId]) -> Arrays:
    """The plain mean in fp64, reading one model at a time; counters are the first one's."""
    first = models.arrays(commits[0])
    sums = {s.name: first[s.name].astype("float64") for s in layout.tensors if s.floating}
    for commit in commits[1:]:
        arrays = models.arrays(commit)
        for name, total in sums.items():
            total += arrays[name]
    return {
        s.name: (sums[s.name] / len(commits)).astype(s.dtype) if s.floating else first[s.name]
        for s in layout.tensors
    }
