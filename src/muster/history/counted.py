"""Which updates a history counts: an immutable set of (node, incarnation, sequence) keys, kept as ranges.

Counted sets make merging idempotent and commutative: a merge counts the union, and a head that counts all
that another one counts replaces it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from muster.protocol.ids import NodeId
from muster.protocol.parts import Range


class Key(NamedTuple):
    """Names one update for ever; a node that lost its disk draws a new incarnation."""

    node: NodeId
    incarnation: int
    sequence: int


_Spans = tuple[tuple[int, int], ...]  # sorted, disjoint, not touching


class Counted:
    """An immutable set of update keys.

    >>> a = Counted.of([Key(b"a", 1, 1), Key(b"a", 1, 2), Key(b"b", 7, 1)])
    >>> [(r.node, r.first, r.last) for r in a.ranges()]
    [(b'a', 1, 2), (b'b', 1, 1)]
    >>> a >= Counted.of([Key(b"a", 1, 2)]), Key(b"a", 1, 3) in a, len(a)
    (True, False, 3)
    """

    __slots__ = ("_lives",)

    def __init__(self, lives: dict[tuple[NodeId, int], _Spans] | None = None) -> None:
        self._lives = lives or {}

    @classmethod
    def of(cls, keys: Iterable[Key]) -> Counted:
        return cls().plus(keys)

    def ranges(self) -> tuple[Range, ...]:
        """Canonical: sorted and as few as can be."""
        return tuple(
            Range(node, incarnation, first, last)
            for (node, incarnation), spans in sorted(self._lives.items())
            for first, last in spans
        )

    def plus(self, keys: Iterable[Key]) -> Counted:
        added: dict[tuple[NodeId, int], list[tuple[int, int]]] = {}
        for key in keys:
            added.setdefault((key.node, key.incarnation), []).append((key.sequence, key.sequence))
        return self.union(Counted({life: _normal(s) for life, s in added.items()}))

    def union(self, other: Counted) -> Counted:
        lives = dict(self._lives)
        for life, spans in other._lives.items():
            lives[life] = _normal([*lives.get(life, ()), *spans]) if life in lives else spans
        return Counted(lives)

    def __contains__(self, key: Key) -> bool:
        spans = self._lives.get((key.node, key.incarnation))
        if not spans:
            return False
        i = bisect_right(spans, (key.sequence, 1 << 62)) - 1
        return i >= 0 and spans[i][0] <= key.sequence <= spans[i][1]

    def __ge__(self, other: Counted) -> bool:
        """Whether every key of `other` is in this set."""
        for life, spans in other._lives.items():
            mine = self._lives.get(life, ())
            for first, last in spans:
                i = bisect_right(mine, (first, 1 << 62)) - 1
                if i < 0 or mine[i][1] < last:
                    return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counted) and self._lives == other._lives

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._lives.items())))

    def __len__(self) -> int:
        return sum(last - first + 1 for spans in self._lives.values() for first, last in spans)

    def __iter__(self) -> Iterator[Key]:
        for r in self.ranges():
            for sequence in range(r.first, r.last + 1):
                yield Key(r.node, r.incarnation, sequence)

    def __repr__(self) -> str:
        return f"Counted({len(self)} updates of {len(self._lives)} lives)"


def _normal(spans: Iterable[tuple[int, int]]) -> _Spans:
    out: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)
