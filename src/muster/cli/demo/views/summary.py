"""Prints what came out of a demo, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

import click

from muster.cli.commit_graph import draw
from muster.cli.contributions import check, worth
from muster.cli.demo.report import AdaptReport, CourierFigures, Report, Turned
from muster.cli.demo.stories.narrow import SCENARIO as NARROW_SCENARIO
from muster.cli.demo.stories.story import both
from muster.cli.output import energy, figure, percent, size, span, table
from muster.node.api.client import LogView


def print_summary(report: Report, file: IO[str]) -> None:
    """The end in one sentence, the figures, the bytes of each link, what each node gave, the files."""
    click.echo(f"\n{report.state}: {report.why}\n", file=file)
    if report.courier is not None:
        print_acts(report.courier, file)
        click.echo("", file=file)
    if report.adapt is not None:
        print_adapted(report.adapt, file)
        click.echo("", file=file)
    table(None, _figures(report), file=file)
    click.echo("", file=file)
    table(("link", "there", "back"), _links(report), file=file)
    click.echo("", file=file)
    table(
        ("node", "samples", "of all", "steps", "of all", "updates counted", "value", "of all"),
        _nodes(report),
        file=file,
    )
    if report.values is not None:
        click.echo(check(report.values), file=file)
    click.echo("", file=file)
    for path in report.model_paths:
        click.echo(f"model: {path}", file=file)
    for warning in report.warnings:
        click.echo(f"warning: {warning}", file=file)


def print_acts(found: CourierFigures, file: IO[str]) -> None:
    """Each model's accuracy on all classes, and on those that only the posts have."""
    each = tuple(f"{name} ({', '.join(map(str, labels))})" for name, labels in found.classes.items())
    rows = [(row.title, percent(row.accuracy), percent(row.accuracy_posts)) for row in found.rows]
    table(("model", "all classes", f"those of {both(each)}"), rows, file=file)


def print_adapted(found: AdaptReport, file: IO[str]) -> None:
    """What the models are worth on turned and on upright pictures, and how the requests fared."""
    if (figures := found.figures) is not None:
        cameras = [figures.in_use[name] for name in found.cameras]
        others = [model for name, model in figures.in_use.items() if name not in found.cameras]
        rows = [
            ("before", figures.before),
            ("each camera alone, with old samples", figures.alone),
            ("in use on the turned cameras", _mean(cameras)),
            ("all their labels in one place, with old samples", figures.pooled),
            ("all their labels in one place, without", figures.pooled_without_replay),
            ("in use on the other nodes", _mean(others)),
        ]
        shown = [(title, percent(model.turned), percent(model.upright)) for title, model in rows]
        table(("model", "turned", "upright"), shown, file=file)
        click.echo("", file=file)
    noticed = sorted(found.noticed_after.values())
    facts = [
        ("requests", f"{found.requests}: {found.failed} failed, {found.mixed} answers of another model"),
        ("a turned camera was noticed after", f"{noticed[0]} to {noticed[-1]} requests"),
        ("the model from half-wrong labels was refused", found.refused),
        ("forced into use, it went back after", f"{found.returned_after} labels"),
        ("the whole story took", span(found.wall_s)),
    ]
    table(None, facts, file=file)


def _mean(models: Sequence[Turned]) -> Turned:
    count = len(models)
    return Turned(sum(m.turned for m in models) / count, sum(m.upright for m in models) / count)


def print_history(log: LogView, file: IO[str]) -> None:
    """The job's commits as a graph."""
    click.echo("", file=file)
    for line in draw(log.commits, log.job.headline, log.job.head):
        click.echo(line, file=file)


def _figures(report: Report) -> list[tuple[str, str]]:
    metric, alone = report.metric, report.figures_best_single
    rows = [(f"{metric} of the model that all made together", figure(metric, report.figures.get(metric)))]
    if metric in alone:
        pooled = figure(metric, report.figures_pooled.get(metric))
        rows += [
            (f"best single node alone ({report.best_single})", figure(metric, alone[metric])),
            ("all data in one place, same number of steps", pooled),
        ]
    rows += [(f"its {name}", figure(name, value)) for name, value in report.figures.items() if name != metric]
    sent = report.bytes_sent
    counted = sent.payload + sent.records + sent.exchange + sent.presence + sent.frozen
    lower = report.bytes_total - counted
    rows += [
        ("time", span(report.wall_s)),
        ("rounds", str(report.rounds)),
        ("bytes on all links (headers included)", size(report.bytes_total)),
        ("  of these updates, deltas and models", size(sent.payload)),
        ("  records beside them", size(sent.records)),
        ("  announcements and heartbeats", size(sent.exchange + sent.presence)),
        ("  QUIC, UDP, IP, Ethernet, sent again by the radio", size(max(0, lower))),
        ("before the job: handshakes and first heartbeats", size(report.bytes_setup)),
    ]
    if report.joules is not None:
        known = sum(node.joules is not None for node in report.nodes.values())
        rows.append((f"energy ({known} of {len(report.nodes)} nodes know theirs)", energy(report.joules)))
    if report.scenario == NARROW_SCENARIO and sent.payload:  # there every byte counts
        links = max(1, len(report.bytes_by_link) // 2)
        wire, ratio = report.bytes_total / links, report.bytes_total / sent.payload
        rows += [
            ("  how long that took", span(report.setup_s)),
            ("a link, both directions: updates, deltas and models", size(sent.payload / links)),
            ("  all on the air", f"{size(wire)}, {ratio:.2f} times"),
        ]
    return rows


def _links(report: Report) -> list[tuple[str, str, str]]:
    counts = report.bytes_by_link
    ends = [(name.split("->"), count) for name, count in counts.items()]
    return [(f"{a} - {b}", size(count), size(counts.get(f"{b}->{a}", 0))) for (a, b), count in ends if a < b]


def _nodes(report: Report) -> list[tuple[str, ...]]:
    steps = sum(node.steps for node in report.nodes.values()) or 1
    samples = sum(node.samples for node in report.nodes.values()) or 1
    return [
        (
            name,
            str(node.samples),
            percent(node.samples / samples, 0),
            str(node.steps),
            percent(node.steps / steps, 0),
            str(node.updates_counted),
            worth(node.value),
            percent(node.value_share, 0),
        )
        for name, node in report.nodes.items()
    ]
