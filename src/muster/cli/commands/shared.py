"""`muster shared`: what of this node's data went to whom."""

from __future__ import annotations

import time

import click

from muster.cli.output import emit, json_option, node_option, size, table


@click.command()
@node_option
@json_option
def shared(node: str | None, as_json: bool) -> None:
    """Show what this node shared of its data with which job, for others to train on (docs/coresets.md)."""
    from muster.node.api.client import choose

    found = choose(node).shared()
    if as_json:
        emit({"shared": found})
        return
    if not found:
        click.echo("this node shared nothing of its data")
        return
    rows = [
        [
            view.job[:8], view.task, view.asker, view.kind, f"{view.samples} for {view.stands_for}",
            size(view.bytes), _when(view.at_s), "yes" if view.held else "no, the job is over",
        ]
        for view in found
    ]  # fmt: skip
    table(("JOB", "TASK", "ASKER", "KIND", "SAMPLES", "SIZE", "WHEN", "STILL HERE"), rows)


def _when(at_s: float | None) -> str:
    return "before a disk was lost" if at_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))
