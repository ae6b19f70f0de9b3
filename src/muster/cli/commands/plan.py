"""`muster plan`: what a job would take, before anybody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from muster.cli.options import job_request, recipe_options, stop_options
from muster.cli.output import emit, energy, json_option, node_option, size, span, table

if TYPE_CHECKING:
    from muster.node.api.plan_view import PlanView


@click.command()
@click.argument("task")
@stop_options
@recipe_options
@node_option
@json_option
def plan(task: str, node: str | None, as_json: bool, **given: Any) -> None:
    """Show what a job with TASK would take: who would do how many steps with which codec, how long, how many
    bytes and joules a round and to the end, and what binds. Nobody is asked."""
    from muster.node.api.client import choose

    found = choose(node).plan(task, **job_request(given))
    emit(found) if as_json else show(found)


def show(found: PlanView) -> None:
    """Print a plan: the first round by node, the first rounds, all of them, and sentences."""
    if found.nodes:
        table(
            ("NODE", "STEPS", "CODEC", "STEP", "TIME", "BYTES", "ENERGY", "KNOWN BY"),
            [
                [
                    n.node, str(n.steps), n.codec, f"{1000 * n.step_s:.3g} ms", span(n.seconds),
                    size(n.bytes), energy(n.joules), n.known_by,
                ]
                for n in found.nodes
            ],
        )  # fmt: skip
        click.echo("")
        rows = [[str(r.round), span(r.seconds), size(r.bytes), energy(r.joules), r.why] for r in found.rounds]
        count = f"1 to {found.rounds_planned}"
        rows.append([count, span(found.seconds), size(found.bytes), energy(found.joules), ""])
        table(("ROUND", "TIME", "BYTES", "ENERGY", "PLAN"), rows)
        click.echo("")
    for sentence in found.sentences:
        click.echo(sentence)
