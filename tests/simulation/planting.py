"""The list of bugs that are planted on purpose, which the files of bugs fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Patch = tuple[Any, str, Any]  # an owner, its attribute, and what is there instead
BUGS: dict[str, tuple[str, Callable[[], list[Patch]]]] = {}  # by name: a sentence, and what makes the patches


def bug(sentence: str) -> Callable[[Callable[[], list[Patch]]], Callable[[], list[Patch]]]:
    """Put a bug into the list, under its function's name."""

    def keep(make: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
        BUGS[make.__name__] = (sentence, make)
        return make

    return keep
