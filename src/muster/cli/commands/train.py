"""`muster train`: ask a node for a job and follow it to its end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muster.cli.options import job_request, recipe_options, stop_options
from muster.cli.output import emit, figure, json_option, node_option, percent, span
from muster.cli.spending import by_node, so_far

if TYPE_CHECKING:
    from muster.node.api.snapshot import JobSnapshot, NodeEvent

HEX = "0123456789abcdef"


@click.command()
@click.argument("task")
@click.option(
    "--from",
    "start",
    metavar="FILE|COMMIT",
    help="Begin with these parameters: a .safetensors or .pt file, or a commit of `muster log`.",
)
@click.option(
    "--fresh",
    multiple=True,
    metavar="GLOB",
    help="With --from FILE: tensors that are new, such as 'head.*'; may be given several times.",
)
@stop_options
@recipe_options
@node_option
@click.option("--dry-run", is_flag=True, help="Ask nobody: show what the job would take, as `muster plan`.")
@click.option("--detach", is_flag=True, help="Print the job's id and end; the job goes on.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.1), help="Follow for at most so many seconds."
)
@json_option
def train(
    task: str,
    start: str | None,
    fresh: tuple[str, ...],
    node: str | None,
    dry_run: bool,
    detach: bool,
    timeout_s: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Ask every node in reach to help with training TASK, and follow the job to its end.

    Ctrl-C ends the following only; the job goes on.
    """
    from muster.cli.follow import ask, follow
    from muster.node.api.client import choose

    request = job_request(given)
    if start is not None:
        request["from"] = beginning(start)
    if fresh:
        request["fresh"] = list(fresh)
    client = choose(node)
    if dry_run:
        from muster.cli.commands.plan import show

        found = client.plan(task, **request)
        emit(found) if as_json else show(found)
        return
    since = client.snapshot().event
    job, since = ask(client, task, request, since, None if as_json else _tell)
    if detach:
        emit({"job": job}) if as_json else click.echo(
            f"job {job[:8]} runs; follow it with: muster log {job[:8]}"
        )
        return
    if not as_json:
        click.echo(f"job {job[:8]}: {task}")
    try:
        view = follow(client, job, since, quiet=as_json, timeout_s=timeout_s)
    except KeyboardInterrupt:
        click.echo(f"\njob {job[:8]} goes on without you; end it with: muster stop {job[:8]}", err=True)
        raise
    if as_json:
        emit(view)
    else:
        click.echo(summary(view))


def _tell(event: NodeEvent) -> None:
    click.echo(event.text, err=True)


def beginning(start: str) -> str:
    """What the job starts from: an existing file's absolute path wins, else a commit's digits."""
    digits = start.lower()
    if not Path(start).expanduser().is_file() and 4 <= len(digits) <= 64 and not set(digits) - set(HEX):
        return digits
    return str(readable(Path(start)))


def readable(path: Path) -> Path:
    """The absolute path of a file with starting parameters. Raises MusterError("bad_data")."""
    from muster.errors import MusterError

    absolute = path.expanduser().absolute()
    if not absolute.is_file():
        raise MusterError(
            "bad_data",
            f"there is no file {path} to start from: check the path (a commit is 4 or more hex digits)",
        )
    return absolute


def measured(view: JobSnapshot) -> str:
    """All figures of a job on held-out data, in one line."""
    if not view.figures:
        return "nothing was measured"
    found = ", ".join(f"{name} {figure(name, value)}" for name, value in view.figures.items())
    return f"{found} on held-out data ({view.measured_examples} samples)"


def summary(view: JobSnapshot) -> str:
    """The result of a finished job in a few lines."""
    lines = [
        f"{view.state}: {view.why}",
        f"{measured(view)}, round {view.round}, {span(view.age_s)}, {so_far(view)}",
        *by_node(view),
    ]
    shares = [f"{c.node} {percent(c.share, 0)}" for c in view.contributions if c.updates_counted]
    if shares:
        lines.append("shares: " + ", ".join(shares))
    lines.append(f"model: muster export {view.id[:8]} --to model.safetensors")
    return "\n".join(lines)
