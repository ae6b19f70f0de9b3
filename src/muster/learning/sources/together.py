"""Several nodes' samples in one place, as a baseline trains on them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from muster.learning.sources.arrays import ArraySource
from muster.learning.sources.source import Source
from muster.learning.sources.trees import Batch


def together(sources: Sequence[Source]) -> Source:
    """All samples of `sources`: mixed where they are arrays, else a batch of each in turn."""
    arrays = [source for source in sources if isinstance(source, ArraySource)]
    if len(arrays) == len(sources):
        trees = [source.example(source.size).data for source in arrays]
        return ArraySource(
            _joined(trees), sum(source.size for source in arrays), None, all(a.checked for a in arrays)
        )
    return InTurn(sources)


def _joined(trees: Sequence[Any]) -> Any:
    first = trees[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(trees))
    if isinstance(first, dict):
        return {key: _joined([tree[key] for tree in trees]) for key in first}
    return tuple(_joined(parts) for parts in zip(*trees, strict=True))


class InTurn:
    """A batch of each source in turn."""

    checked = False

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    @property
    def size(self) -> int | None:
        sizes = [source.size for source in self._sources]
        return None if None in sizes else int(np.sum([size for size in sizes if size is not None]))

    def batches(self, batch: int, seed: int) -> Iterator[Batch]:
        each = [source.batches(batch, seed + i) for i, source in enumerate(self._sources)]
        for batches in itertools.cycle(each):
            yield next(batches)

    def once(self, batch: int, limit: int | None = None) -> Iterator[Batch]:
        for source in self._sources:
            yield from source.once(batch, limit)

    def example(self, count: int = 2) -> Batch:
        return self._sources[0].example(count)

    def split(self, share: float, seed: int) -> tuple[InTurn, None]:
        return self, None

    def sample(self, count: int) -> InTurn:
        return InTurn([source.sample(count // len(self._sources)) for source in self._sources])

    def tell(self) -> None:
        return None

    def seek(self, place: list[int]) -> None:
        pass
