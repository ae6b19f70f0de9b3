"""Commands about models in use: use, rollback, field, adapt."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muster.cli.output import emit, json_option, node_option, percent, table
from muster.errors import MusterError

if TYPE_CHECKING:
    from muster.node.api.field_view import FieldView, MovedView

HEAD = (
    "NODE", "TASK", "IN USE", "SINCE", "WHY", "LIVE", "HELD OUT", "LABELS", "WANTED", "NEED", "ALIKE"
)  # fmt: skip
task_option = click.option("--task", help="The task; left out, that of the commit or of the file.")


@click.command()
@click.argument("model", metavar="COMMIT|FILE")
@task_option
@click.option("--force", is_flag=True, help="Also if it is no better than the model in use.")
@node_option
@json_option
def use(model: str, task: str | None, force: bool, node: str | None, as_json: bool) -> None:
    """Put a model into use on a node: a commit (the beginning of its id) or a .safetensors file.

    Where a model is in use already and the node has held-out labels, the new one has to be better on them.
    """
    from muster.node.api.client import choose

    path = Path(model).expanduser()
    if path.suffix == ".safetensors" or path.exists():
        if not path.is_file():
            raise MusterError("usage", f"there is no file {path}: check the path")
        model = str(path.absolute())
    _said(choose(node).use(model, task or "", force=force), as_json)


@click.command()
@click.argument("task")
@node_option
@json_option
def rollback(task: str, node: str | None, as_json: bool) -> None:
    """Have the former model of TASK in use again; once more undoes it."""
    from muster.node.api.client import choose

    _said(choose(node).rollback(task), as_json)


@click.command()
@click.argument("task")
@node_option
@json_option
def adapt(task: str, node: str | None, as_json: bool) -> None:
    """Ask for a job that adapts the model of TASK in use to conditions here, with nodes to which the same
    happened; a node does so by itself unless auto = false (docs/field.md)."""
    from muster.node.api.client import choose

    asked = choose(node).adapt(task)
    if as_json:
        emit(asked)
        return
    who = f"with {', '.join(asked.alike)}" if asked.alike else "alone: no node in reach is alike"
    click.echo(f"job {asked.job[:8]}: adapts {asked.task} {who}; follow it with: muster log {asked.job[:8]}")


@click.command()
@node_option
@json_option
def field(node: str | None, as_json: bool) -> None:
    """Show which model of a task is in use where, since when, how good it is, and what it waits for."""
    from muster.node.api.client import choose

    views = choose(node).field()
    if as_json:
        emit({"field": views})
        return
    if not views:
        click.echo("no model is in use: muster use FILE.safetensors --task TASK puts one into use")
        return
    table(HEAD, [_row(view) for view in views])
    for view in views:
        if view.waits:
            click.echo(f"{view.node}, {view.task}: {view.waits}")
        if view.server is not None and view.server.fault:
            click.echo(f"{view.node}, {view.task}: {view.server.fault}")


def _row(view: FieldView) -> list[str]:
    since_s = None if view.used_s is None else time.time() - view.used_s
    since = "-" if since_s is None else time.strftime("%m-%d %H:%M:%S", time.localtime(since_s))
    live = f"{percent(view.live_right / view.live_labels)} of {view.live_labels}" if view.live_labels else "-"
    held = f"+{view.wins} -{view.losses} of {view.held_labels}" if view.held_labels else "-"
    labels = "-" if view.labels is None else str(view.labels)
    return [
        view.node, view.task, view.version or "-", since, view.reason or "-", live, held, labels,
        str(view.labels_wanted or "-"), view.need or "-", ", ".join(view.alike) or "-",
    ]  # fmt: skip


def _said(moved: MovedView, as_json: bool) -> None:
    if as_json:
        emit(moved)
    else:
        former = f" (before: {moved.former})" if moved.former else ""
        click.echo(f"{moved.task}: {moved.version} is in use{former}; {moved.said}")
