"""The terminal view of a demo: draws a `Frame` to fit the terminal, four times a second at most."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.text import Text

from muster.cli.demo.views.frame import Frame, LinkLine, NodeLine
from muster.cli.demo.views.in_use import in_use_table
from muster.cli.output import figure, headline, percent, rate, size, span

COLOURS = {
    "away": "red",
    "gone": "bold red",
    "starting": "bright_black",
    "idle": "bright_black",
    "preparing": "yellow",
    "receiving": "cyan",
    "training": "green",
    "sending": "blue",
    "coordinating": "magenta",
}
RESTING = ("away", "gone", "starting", "idle")
BAR = "█▉▊▋▌▍▎▏"[::-1]
SPARK = "▁▂▃▄▅▆▇█"
RING = "○◔◑◕●"
DASH = "╌"
EVENTS_SHOWN = 8
LINK_WIDTH = 38
SPEED_AND_BATTERY = 17  # the width of these columns


def sparkline(values: list[float], width: int) -> str:
    """The last `width` values as little bars between the lowest and the highest."""
    shown = values[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    step = (high - low) / (len(SPARK) - 1) or 1.0
    return "".join(SPARK[round((value - low) / step)] for value in shown)


def bar(share: float, width: int) -> str:
    """A progress bar in eighths of a cell, `width` cells wide."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (BAR[part - 1] if part else "")).ljust(width, "·")


def battery(share: float | None) -> Text:
    """A ring filled in quarters and the charge in percent; without a charge the node runs on mains."""
    if share is None:
        return Text("mains", "bright_black")
    colour = "red" if share < 0.2 else "yellow" if share < 0.5 else "green"
    return Text(f"{RING[round(min(max(share, 0), 1) * 4)]} {100 * share:3.0f} %", colour)


def header(frame: Frame, width: int) -> list[Text]:
    """Three lines: title, round with the headline metric, what the job does."""
    job = frame.job
    first = Text(f" {frame.title}", "bold", no_wrap=True, overflow="ellipsis")
    if job is None:
        return [
            first,
            Text(f" {frame.phase}  {span(frame.elapsed_s)}", no_wrap=True, overflow="ellipsis"),
            Text(),
        ]
    limit = job.stop.get("rounds")
    second = Text(" ", no_wrap=True, overflow="ellipsis")
    second.append(f"round {job.round}{f'/{limit:.0f}' if limit else ''}", "bold")
    second.append(f"   {job.headline} ")
    second.append(figure(job.headline, job.figures.get(job.headline)), "bold green")
    second.append(f"   {span(frame.elapsed_s)}   {size(frame.bytes_total)} on the air   ")
    room = max(8, width - second.cell_len - 1)
    second.append(sparkline([value for _, value in frame.curve], room), "green")
    said = frame.phase if frame.in_use else f"{job.state}: {job.why}"
    third = Text(f" {said}", "bright_black", no_wrap=True, overflow="ellipsis")
    return [first, second, third]


def node_table(rows: tuple[NodeLine, ...], width: int, height: int) -> list[Text]:
    """A head line and a line a node; what does not fit is counted in the last line."""
    bar_width = max(8, min(30, width - 66))
    head = f" {'NODE':<10} {'STATE':<12} {'':<{bar_width}}"
    head += f" {'STEPS/S':>8} {'BATTERY':>7} {'COUNTED':>7} {'SHARE':>6}"
    lines = [Text(head, "bold bright_black", no_wrap=True, overflow="crop")]
    shown = rows if len(rows) <= height - 1 else rows[: height - 2]
    for row in shown:
        colour = COLOURS.get(row.state, "white")
        line = Text(" ", no_wrap=True, overflow="crop")
        line.append(f"{row.name[:10]:<10} ", "bold")
        if row.stand_in:
            lines.append(line.append_text(stand_in(row, bar_width)))
            continue
        line.append(f"{row.state:<12} ", colour)
        busy = row.state not in RESTING
        line.append(bar(row.progress if busy else 0.0, bar_width), colour if busy else "bright_black")
        speed = f"{1 / row.step_s:.1f}" if row.step_s else "-"
        line.append(f" {speed:>8} ")
        line.append(battery(row.battery).plain.rjust(7), battery(row.battery).style)
        line.append(f" {row.updates_counted:>7} {percent(row.share, 0) if row.share else '-':>6}")
        lines.append(line)
    if len(shown) < len(rows):
        lines.append(
            Text(f" and {len(rows) - len(shown)} more nodes: make the window taller", "bright_black")
        )
    return lines


def stand_in(row: NodeLine, bar_width: int) -> Text:
    """The rest of the line of a node in whose place others train: on what, and how long ago it was met."""
    met = "" if row.heard_s is None else f", met {span(row.heard_s)} ago"
    said = f" {size(row.shared_bytes)}{met}"
    text = Text(f"{'stand-in':<12} {DASH * (bar_width + SPEED_AND_BATTERY - len(said))}", "yellow")
    text.append(said, "bright_black")
    return text.append(f" {row.stood_in:>7} {percent(row.share, 0) if row.share else '-':>6}", "yellow")


def link_cell(link: LinkLine) -> Text:
    """`delta-echo 1.2 MB>  345 kB<  96 kbit/s`"""
    name = f"{link.a}-{link.b}"
    if not link.up:
        return Text(f"{name[:16]:<16} down", "red")
    busy = link.there_bytes_s + link.back_bytes_s
    cell = Text(f"{name[:16]:<16} ", "white" if busy > 500 else "bright_black")
    cell.append(f"{size(link.there_bytes):>7}> {size(link.back_bytes):>7}< ".replace(" B", "B"))
    return cell


def link_lines(links: tuple[LinkLine, ...], width: int, height: int) -> list[Text]:
    """Links in columns, the busiest ones when not all fit (in their own order)."""
    columns = max(1, (width - 1) // LINK_WIDTH)
    room = columns * (height - 1)
    shown = links
    if len(links) > room:
        by_bytes = sorted(links, key=lambda link: link.there_bytes + link.back_bytes, reverse=True)
        kept = {(link.a, link.b) for link in by_bytes[:room]}
        shown = tuple(link for link in links if (link.a, link.b) in kept)
    now = sum(link.there_bytes_s + link.back_bytes_s for link in links)
    hidden = len(links) - len(shown)
    title = f" LINKS  {rate(now)} now" + (f"  ({hidden} quieter ones not shown)" if hidden else "")
    lines = [Text(title, "bold bright_black", no_wrap=True, overflow="ellipsis")]
    rows = -(-len(shown) // columns)
    for row in range(rows):
        line = Text(" ", no_wrap=True, overflow="crop")
        for column in range(columns):
            number = column * rows + row
            if number < len(shown):
                cell = link_cell(shown[number])
                cell.pad_right(LINK_WIDTH - cell.cell_len)
                line.append_text(cell)
        lines.append(line)
    return lines


def event_lines(events: tuple[tuple[float, str], ...], height: int) -> list[Text]:
    """The newest events, one a line."""
    lines = []
    for at_s, text in events[-height:]:
        line = Text(f" {span(at_s):>7}  ", "bright_black", no_wrap=True, overflow="ellipsis")
        line.append(text, "white")
        lines.append(line)
    return lines


def draw(frame: Frame, width: int, height: int) -> list[Text]:
    """Exactly `height` lines of at most `width` cells: header, nodes, links, events.

    Nodes go first when it is tight; at 80 x 24 with eight nodes there are three lines of links and six
    events.
    """
    top = [*header(frame, width), Text()]
    left = max(0, height - len(top))
    room = min(len(frame.in_use or frame.nodes) + 1, max(3, left - 8))
    nodes = in_use_table(frame.in_use, width, room) if frame.in_use else node_table(frame.nodes, width, room)
    left -= len(nodes) + 1
    columns = max(1, (width - 1) // LINK_WIDTH)
    wanted = -(-len(frame.links) // columns) + 1
    links = link_lines(frame.links, width, max(2, min(wanted, left - 1 - min(6, EVENTS_SHOWN))))
    left -= len(links) + 1
    events = event_lines(frame.events, max(1, min(left, EVENTS_SHOWN if height < 36 else left)))
    lines = [*top, *nodes, Text(), *links, Text(), *events]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return [*lines, *[Text()] * (height - len(lines))][:height]


class Screen:
    """A renderable that draws the newest frame to the size that the terminal has."""

    def __init__(self) -> None:
        self.frame: Frame | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.frame is not None:
            yield Group(*draw(self.frame, options.max_width, options.height or console.height))


class LiveView:
    """Shows frames on the terminal's other screen, so that nothing scrolls and nothing is left behind."""

    def __init__(self, console: Console) -> None:
        self._screen = Screen()
        self._live = Live(self._screen, console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Give the terminal back; may be called twice."""
        self._live.stop()

    def show(self, frame: Frame) -> None:
        self._screen.frame = frame
        self._live.refresh()


class PlainView:
    """One line an event and one a round, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._job, self._round = "", 0
        self._event_count = 0

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stop(self) -> None:
        """Nothing to give back."""

    def show(self, frame: Frame) -> None:
        fresh = min(frame.event_count - self._event_count, len(frame.events))
        self._event_count = frame.event_count
        for at_s, text in frame.events[len(frame.events) - fresh :]:
            self._print(at_s, text)
        if frame.job is not None and frame.job.id != self._job:
            self._job, self._round = frame.job.id, 0
        if frame.job is not None and frame.job.round > self._round:
            self._round = frame.job.round
            limit = frame.job.stop.get("rounds")
            self._print(
                frame.elapsed_s,
                f"round {self._round}{f'/{limit:.0f}' if limit else ''}: "
                f"{headline(frame.job)}, {size(frame.bytes_total)} on the air",
            )

    def _print(self, at_s: float, text: str) -> None:
        self._console.print(f"{span(at_s):>8}  {text}", markup=False, highlight=False, soft_wrap=True)
