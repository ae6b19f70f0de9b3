"""How the command line shows things: JSON for programs, plain columns and units for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Adds --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def node_option(command: F) -> F:
    """Adds --node."""
    text = "The node to ask: its name or home. Default: $MUSTER_HOME, else the only one that runs here."
    return click.option("--node", "node", metavar="NODE", help=text)(command)


def emit(value: Any) -> None:
    """One JSON value on standard output."""
    click.echo(json.dumps(msgspec.to_builtins(value)))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; a column of which all cells begin with a digit or '-' is aligned to the right."""
    cells = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    right = [
        bool(rows) and all(row[i][:1].isdigit() or row[i] in ("-", "") for row in rows)
        for i in range(len(head))
    ]
    for row in cells:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        click.echo("  ".join(padded).rstrip())


def size(count: float | None) -> str:
    """Bytes for people: 831 B, 12.3 kB, 4.56 MB (powers of 1000)."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5 or unit == "GB":
            break
        count /= 1000
    return (
        f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"
    )


def rate(bytes_s: float | None) -> str:
    """Bits per second for people, as link rates are given: 128 kbit/s."""
    if bytes_s is None:
        return "-"
    bits = bytes_s * 8
    return f"{bits / 1e6:.1f} Mbit/s" if bits >= 1e6 else f"{bits / 1e3:.0f} kbit/s"


def span(seconds: float | None) -> str:
    """A duration for people: 0.3 s, 12 s, 3:07, 2:03:07."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"


class Size(click.ParamType[float]):
    """A number of bytes: 300000, 300kB, 20MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip().lower().removesuffix("b").strip()
        factor = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1:], 1.0)
        try:
            count = float(text[:-1] if factor > 1 else text) * factor
        except ValueError:
            count = -1.0
        if not 1 <= count <= 1e18:
            self.fail(f"{value!r} is no number of bytes: write 300000, 300kB or 20MB", param, ctx)
        return count
