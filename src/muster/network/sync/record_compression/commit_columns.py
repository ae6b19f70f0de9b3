"""The two tables of a commit as columns: updates that it counts, and what each node spent.

Rows become columns, a column of equal values is one value, nodes are places in the roster, sequence numbers
are differences to the next expected one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from muster.network.sync.record_compression.inline_payload import Body
from muster.protocol.parts import Cost

_MILLIJOULES = Cost.__struct_fields__.index("millijoules")
Incarnation: TypeAlias = tuple[bytes, int]  # of a node


class NotAChild(ValueError):
    """These columns do not continue that parent."""


class _Expected:
    """Which update of a node a commit is expected to count next, by what its parent counts."""

    def __init__(self, parent_folded: Body, parent_counted: Body) -> None:
        self._incarnations: dict[bytes, int] = {}
        self._last: dict[Incarnation, int] = {}
        for node, incarnation, _, last in parent_counted:
            self._last[node, incarnation] = max(last, self._last.get((node, incarnation), 0))
        for node, incarnation, *_ in (*parent_counted, *parent_folded):
            self._incarnations[node] = incarnation

    def incarnation(self, node: bytes) -> int | None:
        return self._incarnations.get(node)

    def next(self, node: bytes, incarnation: int) -> int:
        return self._last.get((node, incarnation), 0) + 1

    def count(self, node: bytes, incarnation: int, sequence: int) -> None:
        self._last[node, incarnation] = sequence


def folded_columns(rows: Body, places: dict[bytes, int], parent_folded: Body, parent_counted: Body) -> Body:
    """The updates that a commit counts; `places`: of nodes in its roster."""
    expected = _Expected(parent_folded, parent_counted)
    incarnations, sequences = [], []
    for node, incarnation, sequence, *_ in rows:
        incarnations.append(None if incarnation == expected.incarnation(node) else incarnation)
        sequences.append(sequence - expected.next(node, incarnation))
        expected.count(node, incarnation, sequence)
    nodes = [places[row[0]] for row in rows]
    named = None if [row[0] for row in rows] == sorted(places) else nodes
    others = _transposed(row[3:] for row in rows) or [[], [], [], []]
    weights = {row[0]: row[6] for row in parent_folded}
    others[3] = [None if row[6] == weights.get(row[0]) else row[6] for row in rows]
    return [named, len(rows), *map(_one, (incarnations, sequences, *others))]


def folded_rows(columns: Body, roster: Body, parent_folded: Body, parent_counted: Body) -> Body:
    """The rows that `folded_columns` had. Raises NotAChild."""
    if len(columns) != 8:
        raise NotAChild("the columns of updates are not as they should be")
    named, count, *rest = columns
    nodes = sorted(set(roster)) if named is None else [roster[place] for place in named]
    if len(nodes) != count:
        raise NotAChild("the columns name another number of nodes")
    incarnations, sequences, *others = (_many(column, count) for column in rest)
    expected = _Expected(parent_folded, parent_counted)
    weights = {row[0]: row[6] for row in parent_folded}
    others[3] = [weights.get(n) if w is None else w for n, w in zip(nodes, others[3], strict=True)]
    rows = []
    for number, node in enumerate(nodes):
        named_one = incarnations[number]
        incarnation = named_one if named_one is not None else expected.incarnation(node)
        if incarnation is None:
            raise NotAChild("an update of an unknown incarnation")
        sequence = sequences[number] + expected.next(node, incarnation)
        expected.count(node, incarnation, sequence)
        rows.append([node, incarnation, sequence, *(column[number] for column in others)])
    return rows


def spent_columns(rows: Body, parent_spent: Body, folded: Body, costs: Body) -> Body:
    """Each node's counters, as differences to a guess; joules where they are not as guessed."""
    guess = _spent_guess(parent_spent, folded, costs)
    if [row[0] for row in rows] != [row[0] for row in guess]:
        return [None, rows]
    differences = [
        [steps - g[1], examples - g[2], size - g[3], None if joules == g[4] else joules]
        for (_, steps, examples, size, joules), g in zip(rows, guess, strict=True)
    ]
    columns = _transposed(differences) or [[], [], [], []]
    low = min(columns[2], default=0)  # payloads are of almost equal size
    columns[2] = [size - low for size in columns[2]]
    return [low, *map(_one, columns)]


def spent_rows(columns: Body, parent_spent: Body, folded: Body, costs: Body) -> Body:
    """The rows that `spent_columns` had. Raises NotAChild."""
    if len(columns) == 2 and columns[0] is None:
        return list(columns[1])
    if len(columns) != 5:
        raise NotAChild("the columns of what was spent are not as they should be")
    low, *rest = columns
    guess = _spent_guess(parent_spent, folded, costs)
    steps, examples, size, joules = (_many(column, len(guess)) for column in rest)
    joules = [g[4] if said is None else said for said, g in zip(joules, guess, strict=True)]
    return [
        [g[0], g[1] + steps[i], g[2] + examples[i], g[3] + low + size[i], joules[i]]
        for i, g in enumerate(guess)
    ]


def _spent_guess(parent_spent: Body, folded: Body, costs: Body) -> list[list[Any]]:
    """Each node's counters, had the round cost nothing but the steps, examples and joules of its updates."""
    rows = {row[0]: list(row) for row in parent_spent}
    said = [cost[_MILLIJOULES] for cost in costs] if len(costs) == len(folded) else [0] * len(folded)
    for (node, _, _, steps, examples, *_), millijoules in zip(folded, said, strict=True):
        row = rows.setdefault(node, [node, 0, 0, 0, 0.0])
        row[1] += steps
        row[2] += examples
        row[4] += millijoules / 1000  # as `spent_after` adds, to the same bits
    return [rows[node] for node in sorted(rows)]


def _transposed(rows: Iterable[list[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _one(column: list[Any]) -> Any:
    """One value for a column of equal ones."""
    same = len(column) > 1 and all(value == column[0] for value in column)
    return column[0] if same else column


def _many(column: Any, count: int) -> list[Any]:
    values = column if isinstance(column, list) else [column] * count
    if len(values) != count:
        raise NotAChild("a column has another length")
    return values
