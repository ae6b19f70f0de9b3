"""Two branches' models become one, of one form or of two. Takes long; in any thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from muster.algorithms.merging import merge
from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.joining import joined_shape, mean_of_holders
from muster.job.models.stored import Arrays, stage_arrays
from muster.storage.store import Blobs, StagedBlob


@dataclass(frozen=True)
class Merged:
    """A merge's parameters, written aside; `shape`: as in `Commit`, where it does not follow from the
    history, else b""."""

    params: StagedBlob
    shape: bytes = b""


def merged(
    store: Blobs, one: Form, read: Callable[[], Arrays], other: Form, read_other: Callable[[], Arrays],
    share: float,
) -> Merged:  # fmt: skip
    """The merge of two models, of which the first has so large a share.

    Where one keeps none but channels that the other has, it is of that form.  Branches that were pruned apart
    keep the channels that are largest in both together.
    """
    for form, wider in ((one, other), (other, one)):
        if form.shape.within(wider.shape):
            a, b = form.params(read(), one), form.params(read_other(), other)
            return Merged(stage_arrays(store, form.layout, merge(form.layout, a, b, share)))
    a, b = read(), read_other()
    target = replace(one, shape=joined_shape(one.structure, a, one.shape, b, other.shape))
    found = mean_of_holders(
        one.whole_layout, one.structure, a, one.shape, b, other.shape, share, target.shape
    )
    made = stage_arrays(store, target.layout, found)
    return Merged(made, target.to_bytes())
