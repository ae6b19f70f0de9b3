"""A commit as what a holder of its parent cannot work out: the short form's columns.

Of a commit over ten nodes nine tenths follow from the parent and from the list of updates that it counts:
the set counted so far, the roster, each node's steps and examples.  Rows become columns, a column of equal
values is one value, nodes are places in the roster, sequence numbers are differences to the next expected.

Everything works on plain lists as MessagePack gives them; `shorten` returns None where a commit does not
follow its parent in the usual way, and the caller sends it by other means.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import starmap
from typing import Any, TypeAlias

from muster.history.counted import Counted, Key
from muster.protocol.records import Range

Body: TypeAlias = list[Any]
Life: TypeAlias = tuple[bytes, int]  # a node and its incarnation

TAG = 7
TICKS_A_S = 16  # of a commit's age, when it is a whole number of them
DELTA_AT = 4  # where the payload of the downlink stands in the columns
_JOB, _PARENTS, _ROUND, _COUNTED, _FOLDED, _ROSTER, _SPENT = range(1, 8)
_AGE, _PARAMS, _PARAMS_BYTES, _DELTA, _NORM, _DISCARDED = range(8, 14)
_FIELDS = 14


class Unfit(ValueError):
    """These columns do not continue that parent."""


def shorten(body: Body, parent_id: bytes, parent: Body) -> Body | None:
    """The columns of a commit, or None when it is not an ordinary child of `parent`."""
    if body[0] != TAG or parent[0] != TAG or len(body) != _FIELDS or len(parent) != _FIELDS:
        return None
    known = len(parent[_ROSTER])
    if (
        body[_PARENTS] != [parent_id]
        or body[_JOB] != parent[_JOB]
        or body[_ROSTER][:known] != parent[_ROSTER]
    ):
        return None
    places = {node: place for place, node in enumerate(body[_ROSTER])}
    if any(row[0] not in places for row in body[_FOLDED]):
        return None
    columns = [
        body[_ROUND] - parent[_ROUND],
        _ticks(body[_AGE]),
        body[_PARAMS],
        None if body[_PARAMS_BYTES] == parent[_PARAMS_BYTES] else body[_PARAMS_BYTES],
        body[_DELTA],
        body[_NORM],
        body[_ROSTER][known:],
        _folded_columns(body[_FOLDED], places, parent),
        body[_DISCARDED],
        None if body[_COUNTED] == _counted(parent, body[_FOLDED], body[_DISCARDED]) else body[_COUNTED],
        _spent_columns(body[_SPENT], parent, body[_FOLDED]),
    ]
    return columns if expand(columns, parent_id, parent) == body else None


def expand(columns: Body, parent_id: bytes, parent: Body) -> Body:
    """The commit that `shorten` had. Raises Unfit."""
    if len(columns) != 11 or parent[0] != TAG or len(parent) != _FIELDS:
        raise Unfit("this is no child of a commit")
    step, age_s, params, params_bytes, delta, norm, joined, folding, discarded, counted, spending = columns
    roster = parent[_ROSTER] + joined
    folded = _folded_rows(folding, roster, parent)
    return [
        TAG,
        parent[_JOB],
        [parent_id],
        parent[_ROUND] + step,
        _counted(parent, folded, discarded) if counted is None else counted,
        folded,
        roster,
        _spent_rows(spending, parent, folded),
        age_s / TICKS_A_S if isinstance(age_s, int) else age_s,
        params,
        parent[_PARAMS_BYTES] if params_bytes is None else params_bytes,
        delta,
        norm,
        discarded,
    ]


def _counted(parent: Body, folded: Body, discarded: Body) -> Body:
    before = Counted.from_ranges(starmap(Range, parent[_COUNTED]))
    keys = (Key(row[0], row[1], row[2]) for row in (*folded, *discarded))
    return [[r.node, r.incarnation, r.first, r.last] for r in before.plus(keys).ranges()]


class _Expected:
    """Which update of a node a commit is expected to count next, by what its parent counts."""

    def __init__(self, parent: Body) -> None:
        self._lives: dict[bytes, int] = {}
        self._last: dict[Life, int] = {}
        for node, incarnation, _, last in parent[_COUNTED]:
            self._last[node, incarnation] = max(last, self._last.get((node, incarnation), 0))
        for node, incarnation, *_ in (*parent[_COUNTED], *parent[_FOLDED]):
            self._lives[node] = incarnation

    def incarnation(self, node: bytes) -> int | None:
        return self._lives.get(node)

    def next(self, node: bytes, incarnation: int) -> int:
        return self._last.get((node, incarnation), 0) + 1

    def took(self, node: bytes, incarnation: int, sequence: int) -> None:
        self._last[node, incarnation] = sequence


def _folded_columns(rows: Body, places: dict[bytes, int], parent: Body) -> Body:
    expected = _Expected(parent)
    lives, sequences = [], []
    for node, incarnation, sequence, *_ in rows:
        lives.append(None if incarnation == expected.incarnation(node) else incarnation)
        sequences.append(sequence - expected.next(node, incarnation))
        expected.took(node, incarnation, sequence)
    nodes = [places[row[0]] for row in rows]
    named = None if [row[0] for row in rows] == sorted(places) else nodes
    others = _transposed(row[3:] for row in rows) or [[], [], [], []]
    before = {row[0]: row[6] for row in parent[_FOLDED]}
    others[3] = [None if row[6] == before.get(row[0]) else row[6] for row in rows]  # the weights
    return [named, len(rows), *map(_one, (lives, sequences, *others))]


def _folded_rows(columns: Body, roster: Body, parent: Body) -> Body:
    if len(columns) != 8:
        raise Unfit("the columns of updates are not as they should be")
    named, count, *rest = columns
    nodes = sorted(set(roster)) if named is None else [roster[place] for place in named]
    if len(nodes) != count:
        raise Unfit("the columns name another number of nodes")
    lives, sequences, *others = (_many(column, count) for column in rest)
    expected = _Expected(parent)
    before = {row[0]: row[6] for row in parent[_FOLDED]}
    others[3] = [before.get(n) if w is None else w for n, w in zip(nodes, others[3], strict=True)]
    rows = []
    for number, node in enumerate(nodes):
        life = lives[number] if lives[number] is not None else expected.incarnation(node)
        if life is None:
            raise Unfit("an update of an unknown incarnation")
        sequence = sequences[number] + expected.next(node, life)
        expected.took(node, life, sequence)
        rows.append([node, life, sequence, *(column[number] for column in others)])
    return rows


def _spent_columns(rows: Body, parent: Body, folded: Body) -> Body:
    guess = _spent_guess(parent, folded)
    if [row[0] for row in rows] != [row[0] for row in guess]:
        return [None, rows]
    differences = [
        [steps - g[1], examples - g[2], size - g[3], joules]
        for (_, steps, examples, size, joules), g in zip(rows, guess, strict=True)
    ]
    columns = _transposed(differences) or [[], [], [], []]
    low = min(columns[2], default=0)  # payloads are of almost equal size
    columns[2] = [size - low for size in columns[2]]
    return [low, *map(_one, columns)]


def _spent_rows(columns: Body, parent: Body, folded: Body) -> Body:
    if len(columns) == 2 and columns[0] is None:
        return list(columns[1])
    if len(columns) != 5:
        raise Unfit("the columns of what was spent are not as they should be")
    low, *rest = columns
    guess = _spent_guess(parent, folded)
    steps, examples, size, joules = (_many(column, len(guess)) for column in rest)
    return [
        [g[0], g[1] + steps[i], g[2] + examples[i], g[3] + low + size[i], joules[i]]
        for i, g in enumerate(guess)
    ]


def _spent_guess(parent: Body, folded: Body) -> list[list[Any]]:
    """Each node's counters, had the round cost nothing but the steps and examples of its updates."""
    rows = {row[0]: list(row) for row in parent[_SPENT]}
    for node, _, _, steps, examples, *_ in folded:
        row = rows.setdefault(node, [node, 0, 0, 0, 0.0])
        row[1] += steps
        row[2] += examples
    return [rows[node] for node in sorted(rows)]


def _ticks(age_s: float) -> float:
    ticks = age_s * TICKS_A_S
    return int(ticks) if 0 <= ticks < 2**40 and ticks == int(ticks) else age_s


def _transposed(rows: Iterable[list[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _one(column: list[Any]) -> Any:
    """One value for a column of equal ones."""
    same = len(column) > 1 and all(value == column[0] for value in column)
    return column[0] if same else column


def _many(column: Any, count: int) -> list[Any]:
    values = column if isinstance(column, list) else [column] * count
    if len(values) != count:
        raise Unfit("a column has another length")
    return values
