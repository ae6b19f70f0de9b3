"""A smaller model out of a commit's: what every holder of the commit makes for itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.magnitude import by_magnitude
from muster.algorithms.slimming.shape import kept_of
from muster.job.models.stored import Arrays, stage_arrays
from muster.storage.store import Blobs, StagedBlob


@dataclass(frozen=True)
class Pruned:
    """Parameters, written aside, and their form."""

    params: StagedBlob
    form: Form


def wider_than(form: Form, width: float) -> bool:
    """Whether a model has channels that go at a width, which is a fraction of those it began with."""
    groups = zip(form.structure.groups, form.shape.kept, strict=True)
    return any(len(kept) > kept_of(group.size, width) for group, kept in groups)


def pruned(store: Blobs, form: Form, read: Callable[[], Arrays], width: float) -> Pruned:
    """The model that `read` gives, which is of `form`, at a width. Takes long; in any thread."""
    arrays = read()
    smaller = replace(form, shape=by_magnitude(arrays, form.structure, width, form.shape))
    return Pruned(stage_arrays(store, smaller.layout, smaller.params(arrays, form)), smaller)
