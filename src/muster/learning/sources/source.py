"""The interface of everything that a task may return as its data, and what each kind of data becomes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from muster.learning.faults import TaskFault
from muster.learning.sources.arrays import ArraySource, as_arrays
from muster.learning.sources.datasets import DatasetSource
from muster.learning.sources.loaders import LoaderSource
from muster.learning.sources.streams import StreamSource
from muster.learning.sources.trees import Batch

RETURNS = "return (x, y) arrays, a dict or tuple of arrays, a Dataset, or a function that makes a DataLoader"


class Batches(Protocol):
    """What is trained on. `checked`: all of its values were looked at, and none is NaN."""

    @property
    def size(self) -> int | None:
        """The number of samples; None: it is not known."""

    @property
    def checked(self) -> bool: ...

    def batches(self, batch: int, seed: int) -> Iterator[Batch]:
        """Endless batches for training, in an order that follows from `seed` (a stream: from `tell`)."""


class Source(Batches, Protocol):
    """Samples of one node."""

    def once(self, batch: int, limit: int | None = None) -> Iterator[Batch]:
        """Each sample once, in order; at most `limit` of them."""

    def example(self, count: int = 2) -> Batch:
        """The first `count` samples, or as many as there are."""

    def split(self, share: float, seed: int) -> tuple[Source, Source | None]:
        """(kept, held out); None where nothing can be held out."""

    def sample(self, count: int) -> Source:
        """At most `count` samples, evenly from all, the same ones each time."""

    def tell(self) -> list[int] | None:
        """Where a stream is, for `seek` after a restart; None for what has no such place."""

    def seek(self, place: list[int]) -> None: ...


def as_source(given: Any, what: str) -> Source:
    """What a task's `what`() returned as a source. Raises TaskFault."""
    if isinstance(given, DataLoader):
        return LoaderSource(lambda batch, seed: given, what)
    if isinstance(given, torch.Tensor | np.ndarray | tuple | list | Mapping):
        return as_arrays(given, what)
    if isinstance(given, type) or given is None or isinstance(given, str | bytes | int | float):
        raise TaskFault(f"{what}() must {RETURNS}, not {_kind(given)}")
    if hasattr(given, "__next__"):
        raise TaskFault(
            f"{what}() returned {_kind(given)}, which can be read only once: return an IterableDataset, whose"
            " __iter__ begins again"
        )
    if isinstance(given, IterableDataset) or (
        hasattr(given, "__iter__") and not hasattr(given, "__getitem__")
    ):
        return StreamSource(given, what)
    if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        return DatasetSource(given, what)
    if callable(given):
        return LoaderSource(_with_batch_and_seed(given, what), what)
    raise TaskFault(f"{what}() must {RETURNS}, not {_kind(given)}")


def _with_batch_and_seed(given: Any, what: str) -> Any:
    try:
        inspect.signature(given).bind(1, 0)
    except TypeError as error:
        raise TaskFault(f"the function that {what}() returns takes (batch, seed): {error}") from error
    except ValueError:
        pass  # a builtin: it is tried
    return given


def _kind(value: Any) -> str:
    return f"{type(value).__name__}" if value is not None else "None"


__all__ = ["ArraySource", "Batch", "Source", "as_source"]
