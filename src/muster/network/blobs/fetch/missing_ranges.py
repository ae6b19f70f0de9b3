"""What is missing of a blob and not asked for yet, as ranges in the order in which they will be asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator


class MissingRanges:
    """Ranges (offset, length) in bytes that do not overlap."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges = deque(ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def take(self, length: int) -> tuple[int, int]:
        """The first `length` bytes of the first range, or all of it; they are no longer in here."""
        offset, size = self._ranges.popleft()
        if size > length:
            self._ranges.appendleft((offset + length, size - length))
        return offset, min(size, length)

    def put_back(self, offset: int, length: int) -> None:
        """A range that was asked for did not come: it is the next to be asked for."""
        self._ranges.appendleft((offset, length))

    def drop(self, offset: int, length: int) -> None:
        """Take out what lies within a range."""
        left: deque[tuple[int, int]] = deque()
        for start, size in self._ranges:
            if start + size <= offset or start >= offset + length:
                left.append((start, size))
                continue
            if start < offset:
                left.append((start, offset - start))
            if start + size > offset + length:
                left.append((offset + length, start + size - offset - length))
        self._ranges = left

    def prioritise(self, offset: int) -> None:
        """Somebody waits for what is at `offset`: that, and what follows it, comes first."""
        for index, (start, size) in enumerate(self._ranges):
            if start <= offset < start + size:
                if start == offset and index == 0:
                    return
                del self._ranges[index]
                if start < offset:
                    self._ranges.insert(index, (start, offset - start))
                self._ranges.appendleft((offset, start + size - offset))
                return
