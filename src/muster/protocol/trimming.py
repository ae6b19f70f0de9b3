"""Leaves out the defaults at the end of a record, and of each struct inside it.

Structs are positional arrays, so a field that is added at the end and has its default leaves the bytes, and
so the ids, of all older records as they are.  msgspec itself writes every field of an array.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

NESTING_MAX = 16  # lists in lists
_encode = msgspec.msgpack.Encoder().encode


class NotCanonical(ValueError):
    """Bytes that no version writes for what they say; the message is one sentence."""


class Shape:
    """How the values of one struct type are written."""

    def __init__(self, kind: type[msgspec.Struct]) -> None:
        fields, hints = msgspec.structs.fields(kind), get_type_hints(kind)
        names, tag = [field.name for field in fields], kind.__struct_config__.tag
        self.head: tuple[str | int, ...] = () if tag is None else (tag,)
        self.size = len(fields)
        self.always = sum(field.required for field in fields)
        self.defaults = [field.default for field in fields]
        self.column = [attrgetter(name) for name in names]
        self._values = [_getter(names[:n]) for n in range(self.size + 1)]
        # places of what may leave something out itself, how that is written, and whether it is a tuple
        found = [(place, _inner(hints[name])) for place, name in enumerate(names)]
        self.inner = [(place, *inner) for place, inner in found if inner is not None]
        self.plain = not self.inner and self.always == self.size  # there is never anything to leave out

    def values(self, value: Any, n: int) -> tuple[Any, ...]:
        """The first `n` fields."""
        return self._values[n](value)

    def said(self, value: Any) -> int:
        """How many fields of a value are written."""
        return self._said(self.values(value, self.size))

    def _said(self, values: tuple[Any, ...]) -> int:
        n, defaults = self.size, self.defaults
        while n > self.always and values[n - 1] == defaults[n - 1]:
            n -= 1
        return n

    def trim(self, value: Any) -> Any:
        """What msgspec is to write for a struct: itself, or a list without the defaults at its end."""
        if self.plain:
            return value
        values = self.values(value, self.size)
        n = self._said(values)
        if not self.inner:
            return value if n == self.size else self.head + values[:n]
        out = list(values[:n])
        for place, shape, many in self.inner:
            if place >= n:
                break
            held = out[place]
            if many:
                out[place] = shape.trim_rows(held)
            elif held is not None:
                out[place] = shape.trim(held)
        return [*self.head, *out]

    def trim_rows(self, rows: Sequence[Any]) -> Sequence[Any]:
        """The same for each of many: the rows of a table mostly end alike, as their columns show."""
        if self.inner or self.head:
            return [self.trim(row) for row in rows]
        n, count = self.size, len(rows)
        while n > self.always and count:
            silent = list(map(self.column[n - 1], rows)).count(self.defaults[n - 1])
            if silent < count:
                if silent:
                    return [self.trim(row) for row in rows]
                break
            n -= 1
        return rows if n == self.size else list(map(self._values[n], rows))


@cache
def shape_of(kind: type[msgspec.Struct]) -> Shape:
    """How a struct type is written."""
    return Shape(kind)


def check_known(value: Any, raw: Any) -> None:
    """Check that `raw`, of which `value` was decoded, is as this version writes it, but for fields after
    those that it knows. Raises NotCanonical."""
    if isinstance(value, msgspec.Struct):
        shape = shape_of(type(value))
        said = raw[len(shape.head) :]
        if len(said) <= shape.size and len(said) != shape.said(value):
            raise NotCanonical("a default at the end is written out")
        for held, one in zip(shape.values(value, shape.size), said, strict=False):
            check_known(held, one)
    elif isinstance(value, tuple):
        for held, one in zip(value, raw, strict=True):
            check_known(held, one)
    elif _encode(value) != _encode(raw):
        raise NotCanonical("a value is not written as it is by others")


def check_plain(raw: Any, depth: int = 0) -> None:
    """Check that a decoded value is made of what records are made of. Raises NotCanonical."""
    if isinstance(raw, list):
        if depth >= NESTING_MAX:
            raise NotCanonical(f"it has lists in lists, over {NESTING_MAX} deep")
        for one in raw:
            check_plain(one, depth + 1)
    elif not isinstance(raw, bool | int | float | str | bytes | None):
        raise NotCanonical(f"it has a value of the kind {type(raw).__name__}")


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """The values of these fields."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def _inner(hint: Any) -> tuple[Shape, bool] | None:
    """How what a field holds is written, if something of it may be left out, and whether that is a tuple."""
    if get_origin(hint) in (Union, types.UnionType):
        return next((inner for one in get_args(hint) if (inner := _inner(one)) is not None), None)
    if get_origin(hint) is tuple:
        rows = _inner(get_args(hint)[0])
        return None if rows is None else (rows[0], True)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and not shape_of(hint).plain:
        return shape_of(hint), False
    return None
