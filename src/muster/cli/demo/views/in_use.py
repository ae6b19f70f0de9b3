"""A demo's nodes by the models that they use: a line each."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from muster.cli.output import percent

REASONS = {"adopted": "green", "forced": "red", "returned": "magenta", "rolled back": "magenta"}
LOW, HIGH = 0.6, 0.8  # accuracies at which the colour changes
WIDE = 110  # columns from which on there are bars


@dataclass(frozen=True)
class InUseLine:
    """One node. `accuracy`: of the newest answers, None while there are too few."""

    name: str
    state: str  # of its daemon
    turned: bool  # its camera
    version: str = ""
    reason: str = ""
    accuracy: float | None = None
    requests: int = 0
    failed: int = 0
    mixed: int = 0
    labelled: int = 0
    wanted: int = 0  # labels
    alike: tuple[str, ...] = ()


def in_use_table(rows: tuple[InUseLine, ...], width: int, height: int) -> list[Text]:
    """A head line and a line a node; what does not fit is counted in the last line.

    A narrow terminal shows no bars, the beginning of versions, and who is alike as far as there is room.
    """
    version, why, bar_width = (15, 11, 10) if width >= WIDE else (9, 8, 0)
    head = f" {'NODE':<8} {'STATE':<12} {'CAMERA':<7} {'IN USE':<{version}} {'WHY':<{why}} {'RIGHT':>5}"
    head += f"{' ' * (bar_width and bar_width + 1)} {'REQUESTS':>8} {'FAILED':>6} {'LABELS':>6} ALIKE"
    lines = [Text(head, "bold bright_black", no_wrap=True, overflow="crop")]
    shown = rows if len(rows) <= height - 1 else rows[: height - 2]
    for row in shown:
        line = Text(" ", no_wrap=True, overflow="ellipsis")
        line.append(f"{row.name[:8]:<8} ", "bold")
        line.append(f"{row.state[:12]:<12} ", "bold red" if row.state == "gone" else "bright_black")
        line.append(
            f"{'turned' if row.turned else 'upright':<7} ", "yellow" if row.turned else "bright_black"
        )
        line.append(f"{row.version[:version] or '-':<{version}} ")
        line.append(f"{row.reason[:why]:<{why}} ", REASONS.get(row.reason, "bright_black"))
        line.append_text(_accuracy(row.accuracy, bar_width))
        bad = row.failed + row.mixed
        line.append(f" {row.requests:>8} ")
        line.append(f"{bad:>6}", "bold red" if bad else "green")
        line.append(f" {row.labelled if row.labelled or not row.wanted else f'+{row.wanted}':>6}")
        line.append(f" {', '.join(row.alike)}", "cyan")
        lines.append(line)
    if len(shown) < len(rows):
        lines.append(
            Text(f" and {len(rows) - len(shown)} more nodes: make the window taller", "bright_black")
        )
    return lines


def _accuracy(share: float | None, bar_width: int) -> Text:
    if share is None:
        return Text("    -" + (f" {'·' * bar_width}" if bar_width else ""), "bright_black")
    colour = "red" if share < LOW else "yellow" if share < HIGH else "green"
    full = round(share * bar_width)
    bar = f" {'█' * full}{'·' * (bar_width - full)}" if bar_width else ""
    return Text(f"{percent(share, 0):>5}{bar}", colour)
