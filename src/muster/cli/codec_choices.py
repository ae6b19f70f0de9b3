"""`muster log JOB --why`: which codec each message took, forecast beside outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from muster.cli.output import size, span, table

if TYPE_CHECKING:
    from muster.node.api.commit_detail import WhyView

HEADINGS = ("ROUND", "NODE", "CODEC", "BYTES", "WERE", "TIME", "WAS", "RESIDUAL", "WAS", "WHY")


def show(rows: Sequence[WhyView]) -> None:
    """Print a table, oldest round first; TIME is what the round takes the node beside its steps, RESIDUAL how
    many updates' worth of change its message leaves for later ones."""
    if not rows:
        click.echo("this node coordinated no round of the job: ask the one that did, with --node NAME")
        return
    table(HEADINGS, [_cells(row) for row in rows])


def _cells(row: WhyView) -> list[str]:
    return [
        str(row.round),
        row.node or "to all",
        row.codec,
        size(row.bytes_forecast),
        "-" if row.bytes is None else size(row.bytes),
        "-" if row.seconds_forecast is None else span(row.seconds_forecast),
        "-" if row.seconds is None else span(row.seconds),
        f"{row.waiting_forecast:.1f}",
        "-" if row.waiting is None else f"{row.waiting:.1f}",
        row.why,
    ]
