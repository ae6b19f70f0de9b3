"""`muster prune`: a finished model with fewer channels, tuned by a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from muster.cli.options import job_request, recipe_options
from muster.cli.output import emit, figure, json_option, node_option, size, table

if TYPE_CHECKING:
    from muster.node.api.prune_view import PruneView, SizeView
    from muster.node.api.snapshot import JobSnapshot


@click.command()
@click.argument("commit")
@click.option("--tune", "rounds", type=click.IntRange(1), default=10, show_default=True,
              help="Rounds of training after it.")  # fmt: skip
@recipe_options
@node_option
@click.option("--detach", is_flag=True, help="End once the job is asked for; the job goes on.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1), help="Follow for at most so many seconds."
)
@json_option
def prune(
    commit: str,
    rounds: int,
    node: str | None,
    detach: bool,
    timeout_s: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Leave out of the model of COMMIT the channels with the smallest weights, down to --width of them, and
    tune what is left in a job of its own.

    The figures on held-out data stand beside each other: before, pruned, and tuned. COMMIT stays as it is.
    """
    from muster.cli.follow import follow, waiting
    from muster.node.api.client import choose

    if given.get("width") is None:
        raise click.UsageError("say how much of the model shall stay, such as --width 0.5")
    client = choose(node)
    found = client.show(commit)
    options = job_request(given) | {"from": found.commit.id, "rounds": rounds}
    since = client.snapshot().event
    said = None if as_json else lambda event: click.echo(event.text, err=True)
    view, since = waiting(client, lambda: client.prune(found.task, **options), since, said)
    if detach:
        emit(view) if as_json else show(view, None)
        return
    if not as_json:
        click.echo(f"job {view.job[:8]}: {found.task}, tunes the pruned model")
    try:
        tuned = follow(client, view.job, since, quiet=as_json, timeout_s=timeout_s)
    except KeyboardInterrupt:
        click.echo(
            f"\njob {view.job[:8]} goes on without you; end it with: muster stop {view.job[:8]}", err=True
        )
        raise
    if as_json:
        emit({"pruned": view, "tuned": tuned})
    else:
        show(view, tuned)


def show(view: PruneView, tuned: JobSnapshot | None) -> None:
    """The model before, pruned and tuned, one a line."""
    names = list(view.before.figures) or list(view.pruned.figures)
    rows = [_row("before", view.before, names), _row("pruned", view.pruned, names)]
    if tuned is not None:
        after = [figure(n, tuned.figures[n]) if n in tuned.figures else "-" for n in names]
        rows.append([f"{tuned.state} after {tuned.round} rounds", *rows[1][1:4], *after])
    table(("MODEL", "WIDTH", "PARAMETERS", "BYTES", *(name.upper() for name in names)), rows)
    where = "the task's evaluation set" if view.common else "what this node holds out of its data"
    click.echo(
        f"measured on {where}" if view.before.examples else "nothing was measured: nothing is held out"
    )
    if tuned is not None:
        click.echo(f"model: muster export {view.job[:8]} --to model.safetensors")
    else:
        click.echo(f"job {view.job[:8]} runs; follow it with: muster log {view.job[:8]}")


def _row(what: str, model: SizeView, names: list[str]) -> list[str]:
    values = [figure(n, model.figures[n]) if n in model.figures else "-" for n in names]
    return [what, f"{model.width:g}", f"{model.parameters:,}", size(model.bytes), *values]
