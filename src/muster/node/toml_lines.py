"""Finds the line of a mistake in a TOML file, which neither tomllib nor msgspec names for a wrong value."""

from __future__ import annotations

import re


def toml_fault(message: str, text: str) -> str:
    """Python's message about a text that is no TOML, with the line first and the key that stands there."""
    found = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", message)
    if found is None:  # "... (at end of document)"
        return f"line {text.count(chr(10)) + 1}: {message}"
    line = int(found[2])
    content = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
    key = content.partition("=")[0].strip()
    return f"line {line}, {f'at {key!r}, ' if key else ''}column {found[3]}: {found[1]}"


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The line (from 1) on which the key `path` stands, None when it cannot be found.

    Reads headers and `key = value` lines; that is enough for pointing at a mistake.
    """
    if not path:
        return None
    section: tuple[str, ...] = ()
    best: int | None = None
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("["):
            section = _keys(bare.strip("[]# ").split("]")[0])
            here = section
        elif "=" in bare and not bare.startswith("#"):
            here = section + _keys(bare.partition("=")[0])
        else:
            continue
        if here == path:
            return number
        if best is None and here and here == path[: len(here)]:
            best = number
    return best


def _keys(dotted: str) -> tuple[str, ...]:
    return tuple(key.strip().strip("\"'") for key in dotted.split("."))
