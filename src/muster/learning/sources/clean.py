"""Looks at single batches of what could not be looked at as a whole, and says which row is to blame."""

from __future__ import annotations

from typing import Any

import torch

from muster.learning.faults import TaskFault
from muster.learning.sources.trees import Batch, bad_rows, leaves, mapped


def clean(batch: Batch, *, skip: bool) -> tuple[Batch, int]:
    """`batch` without samples that hold NaN, and their number. Raises TaskFault for one unless `skip`."""
    bad = bad_rows(batch.data, nan_only=True)
    if not bad:
        return batch, 0
    if not skip:
        raise TaskFault(f"{_row(batch, bad)} holds NaN: correct the data, or set skip_bad_rows = True")
    good = torch.tensor([place for place in range(batch.count) if place not in bad], dtype=torch.int64)
    if any(leaf.ndim == 0 or len(leaf) != batch.count for _, leaf in leaves(batch.data)):
        return Batch(batch.data, 0), batch.count  # which samples are meant is not known

    def chosen(leaf: Any) -> Any:
        return leaf[good]

    rows = None if batch.rows is None else [batch.rows[int(place)] for place in good]
    return Batch(mapped(batch.data, chosen), len(good), rows), len(bad)


def why_not_finite(batch: Batch) -> str | None:
    """The row of a batch that makes its loss not finite; None: there is none."""
    bad = bad_rows(batch.data, nan_only=False)
    return f"{_row(batch, bad)} holds a value that is not finite" if bad else None


def _row(batch: Batch, bad: dict[int, str]) -> str:
    place = min(bad)
    known = batch.rows is not None
    row = int(batch.rows[place]) if batch.rows is not None else place
    return f"row {row} of {bad[place]}{'' if known else ' of a batch'}"
