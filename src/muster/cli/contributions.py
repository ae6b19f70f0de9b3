"""What each node gave and what it was worth, as a table and a line that checks it (docs/contribution.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import click

from muster.cli.output import percent, size, table

if TYPE_CHECKING:
    from muster.node.api.snapshot import JobSnapshot


class Checked(Protocol):
    """The figures of the check, in a snapshot or in a report."""

    @property
    def rounds(self) -> int: ...
    @property
    def valued(self) -> int: ...
    @property
    def predicted(self) -> float: ...
    @property
    def drop(self) -> float: ...
    @property
    def examples(self) -> int: ...
    @property
    def common(self) -> bool: ...


def show(view: JobSnapshot) -> None:
    """The table on standard output."""
    table(
        (
            "NODE",
            "SAMPLES",
            "STEPS",
            "COUNTED",
            "LATE",
            "STAND-INS",
            "REFUSED",
            "SENT",
            "RECEIVED",
            "VALUE",
            "OF ALL",
        ),
        [
            [
                c.node,
                str(c.samples),
                str(c.steps),
                str(c.updates_counted),
                str(c.updates_late),
                str(c.stood_in),
                str(c.updates_refused),
                size(c.sent_bytes),
                size(c.received_bytes),
                worth(c.value),
                percent(c.value_share, 0),
            ]
            for c in view.contributions
        ],
    )
    for c in view.contributions:
        for reason, count in c.refused_why.items():
            click.echo(f"{c.node}: {count} refused: {reason}")
    if view.values is not None:
        click.echo(check(view.values))


def worth(value: float | None) -> str:
    """A value in units of the loss; exactly zero and almost zero look different."""
    return "-" if value is None else "0" if value == 0.0 else f"{value:.3f}"


def check(values: Checked) -> str:
    """One line: what was valued on what, and whether it adds up."""
    if not values.valued:
        return f"values: none of {values.rounds} rounds is valued"
    whose = "that every node has" if values.common else "that the coordinator holds out of its own data"
    return (
        f"values: of {values.valued} of {values.rounds} rounds, on {values.examples} samples {whose}; they "
        f"add up to {values.predicted:.3f}, the rounds' updates took {values.drop:.3f} off the loss"
    )
