"""`muster task`: help for who writes a task; and `muster tasks`, the older name of its list."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muster.cli.output import emit, figure, json_option, node_option, size, table
from muster.errors import MusterError

if TYPE_CHECKING:
    from muster.node.api.snapshot import TaskView
    from muster.node.trainer.task_check import TaskReport

CONFIG = click.Path(dir_okay=False, path_type=Path)
TEMPLATE = Path(__file__).parents[1] / "task_example.txt"


@click.group()
def task() -> None:
    """Write a task, check it, and see which there are."""


# ---- new ---------------------------------------------------------------------------------------------


@task.command()
@click.argument("name")
def new(name: str) -> None:
    """Write NAME.py, a commented example of a task that trains as it is. Nothing is overwritten."""
    if not name.isascii() or not name.isidentifier() or len(name) > 64:
        raise MusterError(
            "usage", f"{name!r} is no name for a task: use letters, digits and '_', beginning with a letter"
        )
    path = Path(f"{name}.py")
    text = TEMPLATE.read_text("utf-8").replace("Example", _class_name(name)).replace("example", name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise MusterError("usage", f"{path} is there already: choose another name, or remove it") from error
    except OSError as error:
        raise MusterError("usage", f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"{path} is written: edit it, then 'muster task check {path}'")


def _class_name(name: str) -> str:
    """sea_ice -> SeaIce."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) or "Mine"


# ---- list --------------------------------------------------------------------------------------------


@task.command("list")
@node_option
@click.option("--config", "-c", "path", type=CONFIG, help="A node.toml to look into, instead of a node.")
@click.option("--open", "opens", is_flag=True, help="Have the node open each, which takes seconds for each.")
@json_option
def list_(node: str | None, path: Path | None, opens: bool, as_json: bool) -> None:
    """Show the tasks of a node, or of this machine when none runs, and where each comes from."""
    from muster.node.api.client import choose
    from muster.node.catalogue import task_views
    from muster.node.config import load_config

    note = ""
    if path is not None:
        found = task_views(load_config(path).tasks)
    else:
        try:
            client = choose(node)
        except MusterError as error:
            if node is not None or opens:
                raise
            note, found = error.sentence, task_views({})
        else:
            if opens and not as_json:
                click.echo("the node opens each task, one after another", err=True)
            found = client.tasks(opens=opens)
    if as_json:
        emit(found)
        return
    opened = any(view.version or view.error for view in found)
    table(("TASK", *(_OPENED if opened else ()), "FROM", ""), [_row(view, opened) for view in found])
    if note:
        click.echo(f"({note})", err=True)


_OPENED = ("VERSION", "FINGERPRINT", "PARAMETERS", "SAMPLES")


def _row(view: TaskView, opened: bool) -> list[str]:
    known = bool(view.version)
    facts = [view.version, view.fingerprint[:8], str(view.parameters), str(view.samples)]
    return [
        view.name,
        *((facts if known else ["-"] * len(facts)) if opened else ()),
        view.where,
        view.error or "",
    ]


# ---- check -------------------------------------------------------------------------------------------


@task.command()
@click.argument("reference", metavar="FILE")
@click.option("--data", metavar="FILE", help="Handed to the task as its option data.")
@click.option("--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Any other option of the task.")
@json_option
def check(reference: str, data: str | None, pairs: tuple[str, ...], as_json: bool) -> None:
    """Do with the task in FILE what a node does in a job (task.py, task.py:Class, or an installed name).

    Trains, evaluates, loads and trains again, saves, exports. Shows what travels, speed and memory, and what
    is wrong. Ends with 0 when a node would train it.
    """
    options = _options(pairs)
    if data is not None:
        options["data"] = data
    report = _checked(reference, options, quiet=as_json)
    if as_json:
        import msgspec

        emit({**msgspec.to_builtins(report), "good": report.good})
    else:
        _show(report)
    if report.faults:
        raise MusterError(
            "task_fault", f"the task {report.name} cannot be trained: " + "; ".join(report.faults)
        )
    if not as_json:
        click.echo(
            f"good: put it into a node's node.toml as [tasks.{report.name}], then muster train {report.name}"
        )


def _checked(reference: str, options: dict[str, Any], *, quiet: bool) -> TaskReport:
    import asyncio
    import tempfile

    from muster.node.trainer.messages import TaskSource
    from muster.node.trainer.process import TrainerProcess
    from muster.node.trainer.task_check import check as checked

    def tell(what: str) -> None:
        if not quiet:
            click.echo(f"{what} ...", err=True)

    async def main() -> TaskReport:
        trainer = TrainerProcess()
        try:
            with tempfile.TemporaryDirectory(prefix="muster-check-") as folder:
                source = TaskSource(reference, options, niceness=0)
                return await checked(trainer, source, Path(folder), tell)
        finally:
            await trainer.close()

    try:
        return asyncio.run(main())
    except MusterError as error:
        if error.code != "task_fault":
            raise
        sentence = f"the task {reference} cannot be trained: {error.sentence}"
        raise MusterError("task_fault", sentence) from error


def _show(report: TaskReport) -> None:
    table(
        ("TENSOR", "SHAPE", "TYPE", "BYTES", ""),
        [
            [t.name, " x ".join(map(str, t.shape)) or "1", t.dtype, size(t.size_bytes), t.kind]
            for t in report.tensors
        ],
    )
    click.echo()
    figures = [f"{name} {figure(name, value)}" for name, value in report.figures.items()]
    fixed = sum(t.size_bytes for t in report.tensors if t.kind in ("frozen", "constant"))
    rows = [
        ("task", f"{report.name}, version {report.version}, fingerprint {report.fingerprint[:8]}"),
        ("travels", f"{size(report.travels_bytes)} of {size(sum(t.size_bytes for t in report.tensors))}"),
        *([("frozen", f"{size(fixed)}, once to a node that lacks it")] if fixed else []),
        ("samples", f"{report.samples}, and {report.evaluation_samples} held out"),
        ("a step", f"{1000 * report.step_s:.1f} ms"),
        ("learning rate", f"{report.lr:.2g}, {report.lr_from}"),
        ("memory", size(report.memory_bytes)),
        ("at width 0.5", _half(report)),
        ("after 10 steps", ", ".join(figures) or "no figures"),
        ("took", f"{report.seconds:.1f} s"),
    ]
    for what, text in rows:
        click.echo(f"{what:15}{text}")
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)


def _half(report: TaskReport) -> str:
    if report.half_parameters is None:
        return report.one_width or "not tried"
    return f"{report.half_parameters:,} of {report.parameters:,} parameters"


def _options(pairs: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE pairs; a value is an integer, a number or else a text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise MusterError("usage", f"--option {pair!r} is not KEY=VALUE")
        options[key] = text
        for kind in (float, int):
            with contextlib.suppress(ValueError):
                options[key] = kind(text)
    return options
