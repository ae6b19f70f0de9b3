"""The difference between two states of a table, computed here and nowhere else.

Used at both ends of the stream, for different reasons.  The node compares with what it sent last, so that
its control socket carries changes only.  The page's feed lays the emulator's view, which comes whole at each
look, over the node's, and numbers what differs of the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]  # the fields of a struct of `schema`
Rows: TypeAlias = dict[str, Row | None]  # by id; None: the row is gone


def changed_fields(old: Row, new: Row) -> Row:
    """The fields of `new` that `old` has not or has otherwise.

    >>> changed_fields({"a": 1, "b": 2}, {"b": 3, "c": None})
    {'b': 3, 'c': None}
    """
    return {name: value for name, value in new.items() if name not in old or old[name] != value}


def absorb(known: dict[str, Row], rows: Mapping[str, Row | None]) -> Rows:
    """Takes rows, whole or in part, into `known`; returns what differed, new rows whole.

    >>> known = {"x": {"a": 1, "b": 2}, "y": {}}
    >>> absorb(known, {"x": {"b": 3}, "y": None, "z": {"a": 0}})
    {'x': {'b': 3}, 'y': None, 'z': {'a': 0}}
    >>> known
    {'x': {'a': 1, 'b': 3}, 'z': {'a': 0}}
    """
    fresh: Rows = {}
    for key, row in rows.items():
        old = known.get(key)
        if row is None:
            if known.pop(key, None) is not None:
                fresh[key] = None
        elif old is None:
            known[key] = dict(row)
            fresh[key] = dict(row)
        elif changed := changed_fields(old, row):
            old.update(changed)
            fresh[key] = changed
    return fresh


def brief(value: float) -> float:
    """Three digits are enough, and a rate that hardly changed is no news.

    >>> brief(9213.7), brief(0.0)
    (9210.0, 0.0)
    """
    return float(f"{value:.3g}")
