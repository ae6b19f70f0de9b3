"""Prints what a command found: JSON for programs, tables and units for people."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from muster.protocol.metrics import is_share
from muster.protocol.quantities import energy_text, parse_energy, parse_size, size_text
from muster.protocol.validation.limits import FIGURE_MAX, TOTAL_MAX

if TYPE_CHECKING:
    from muster.node.api.snapshot import JobSnapshot

F = TypeVar("F", bound=Callable[..., Any])
FIGURE_PARTS_MAX = 3  # such as "3 of 8"
TABLE_CELLS_MAX = 10_000  # wider than any table


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


def table(head: Sequence[str] | None, rows: Sequence[Sequence[str]], *, file: IO[str] | None = None) -> None:
    """Prints aligned columns; a column whose cells are all numbers, "-" or empty is aligned to the right.

    Nothing is cut or folded: a terminal that is too narrow folds the lines by itself.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = sys.stdout if file is None else file
    drawn = Table(box=None, pad_edge=False, header_style="bold", show_header=head is not None)
    for i, name in enumerate(head or [""] * len(rows[0])):
        right = bool(rows) and all(_is_figure(row[i]) for row in rows)
        drawn.add_column(Text(name), justify="right" if right else "left", no_wrap=True)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))  # as Text: brackets in a cell are no markup
    text = io.StringIO()
    Console(file=text, width=TABLE_CELLS_MAX, force_terminal=out.isatty()).print(drawn)
    for line in text.getvalue().splitlines():
        click.echo(line.rstrip(), file=out)


def _is_figure(cell: str) -> bool:
    sentence = len(cell.split()) > FIGURE_PARTS_MAX
    return cell in ("-", "") or (cell.removeprefix("-")[:1].isdigit() and not sentence)


def size(count: float | None) -> str:
    """Bytes for people, "-" where there are none."""
    return "-" if count is None else size_text(count)


def energy(joules: float | None) -> str:
    """Joules for people, "-" where nobody measured or modelled any."""
    return energy_text(joules) if joules else "-"


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
    """A share (0..1) for people: 93.4 %."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def figure(name: str, value: float | None) -> str:
    """A metric's value for people: accuracies in percent, others with four digits."""
    if value is None:
        return "-"
    return percent(value) if is_share(name) else f"{value:.4g}"


def headline(job: JobSnapshot) -> str:
    """What a job is judged by first, with its value: accuracy 93.4 %."""
    return f"{job.headline} {figure(job.headline, job.figures.get(job.headline))}"


class Size(click.ParamType[int]):
    """A number of bytes: 300000, 300kB, 20MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        count = parse_size(str(value))
        if count is None or not 1 <= count <= TOTAL_MAX:
            self.fail(f"{value!r} is no number of bytes: write 300000, 300kB or 20MB", param, ctx)
        return round(count)


class Energy(click.ParamType[float]):
    """Joules: 500, 12kJ, 20Wh."""

    name = "energy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        joules = parse_energy(str(value))
        if joules is None or not 0 < joules <= FIGURE_MAX:
            self.fail(f"{value!r} is no amount of energy: write 500 (joules), 12kJ or 20Wh", param, ctx)
        return joules
