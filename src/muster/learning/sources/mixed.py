"""New samples to learn from, and beside them in each batch older ones that are not to be forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from muster.learning.sources.appended import joined
from muster.learning.sources.source import Source
from muster.learning.sources.trees import Batch


@dataclass(frozen=True)
class Mixed:
    """A source of the `new` samples; each batch to train on has `beside` more of the `old` ones."""

    new: Source
    old: Source
    beside: int

    @property
    def size(self) -> int | None:
        return self.new.size

    @property
    def checked(self) -> bool:
        return self.new.checked and self.old.checked

    def batches(self, batch: int, seed: int) -> Iterator[Batch]:
        for new, old in zip(
            self.new.batches(batch, seed), self.old.batches(self.beside, seed + 1), strict=True
        ):
            yield Batch(joined(new.data, old.data), new.count + old.count)

    def once(self, batch: int, limit: int | None = None) -> Iterator[Batch]:
        return self.new.once(batch, limit)

    def example(self, count: int = 2) -> Batch:
        return self.new.example(count)

    def split(self, share: float, seed: int) -> tuple[Mixed, None]:
        return self, None

    def sample(self, count: int) -> Source:
        return self.new.sample(count)

    def tell(self) -> None:
        return None

    def seek(self, place: list[int]) -> None:
        pass
