"""`muster log JOB --why`: how rounds were planned and which codec messages took, forecast beside outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from muster.cli.output import energy, size, span, table

if TYPE_CHECKING:
    from muster.node.api.client import LogView
    from muster.node.api.commit_detail import RoundWhyView, WhyView

ROUND_HEADINGS = ("ROUND", "TIME", "TOOK", "BYTES", "WERE", "ENERGY", "WAS", "PLAN")
HEADINGS = ("ROUND", "NODE", "STEPS", "CODEC", "BYTES", "WERE", "TIME", "WAS", "RESIDUAL", "WAS", "WHY")


def show(found: LogView) -> None:
    """Print a table of rounds, one of their messages, and how far times were off, oldest round first.

    TIME is that of the whole round, and of a message what the round takes its node beside its steps; RESIDUAL
    is how many updates' worth of change a message leaves for later ones.
    """
    if not found.why:
        click.echo("this node coordinated no round of the job: ask the one that did, with --node NAME")
        return
    table(ROUND_HEADINGS, [_round(row) for row in found.rounds])
    click.echo("")
    table(HEADINGS, [_message(row) for row in found.why])
    if found.errors is not None:
        click.echo(f"\n{found.errors.sentence}")


def _round(row: RoundWhyView) -> list[str]:
    return [
        str(row.round),
        span(row.seconds_forecast),
        span(row.seconds),
        size(row.bytes_forecast),
        size(row.bytes),
        energy(row.joules_forecast),
        energy(row.joules),
        row.why,
    ]


def _message(row: WhyView) -> list[str]:
    return [
        str(row.round),
        row.node or "to all",
        str(row.steps) if row.node else "-",
        row.codec,
        size(row.bytes_forecast),
        size(row.bytes),
        span(row.seconds_forecast),
        span(row.seconds),
        f"{row.waiting_forecast:.1f}",
        "-" if row.waiting is None else f"{row.waiting:.1f}",
        row.why,
    ]
