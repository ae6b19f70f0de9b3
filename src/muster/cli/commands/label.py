"""`muster label`: say what samples of a served task are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from muster.local.form import Form
    from muster.local.local_set import LocalSet
    from muster.local.rows import Sample

CONFIG = click.Path(dir_okay=False, path_type=Path)
ASKED = 20  # samples fetched at once: others label too, and new ones come
LINES_MAX = 1_000_000


@click.command()
@click.argument("task")
@click.option("--from", "file", type=CONFIG, help="A CSV file: the id of a request, and its label.")
@click.option("--config", "-c", "path", type=CONFIG, help="A node.toml: its home, and [tasks.TASK.serve].")
@click.option("--home", metavar="DIR", help="The node's home. Default: that of the only node here.")
def label(task: str, file: Path | None, path: Path | None, home: str | None) -> None:
    """Show samples that TASK was asked about, and ask what they are.

    The first ones are drawn at random, to see how good the model in use is. Then those come of which it is
    least certain, and each fifth is drawn, to check the next model with. Answer with a class, by name or
    number; s skips, q ends. Each answer is kept at once. The node learns from them in its jobs; they never
    leave it.
    """
    from muster.cli.home import home_and_config
    from muster.errors import MusterError
    from muster.local.form import Form
    from muster.local.local_set import LocalSet
    from muster.serving.labelling import form_in_use, limits_of
    from muster.serving.paths import local_set_of
    from muster.serving.settings import ServeConfig

    where, config = home_and_config(path, home)
    place = local_set_of(where, task)
    if not place.exists():
        raise MusterError(
            "no_result", f"{where} has no samples of {task}: serve it first (muster serve {task})"
        )
    form = form_in_use(where, task) or Form("float32", ())
    with LocalSet.open(place, limits_of(config.serve.get(task, ServeConfig()))) as local:
        if file is not None:
            _from_file(local, form, file)
        else:
            _ask(local, form)
        counts = local.counts()
    click.echo(
        f"{task}: {counts.labelled} labelled samples, {counts.held} of them to check the next model with; "
        f"since conditions last changed {counts.labels} were compared, {counts.wrong} answered wrong"
    )


def _ask(local: LocalSet, form: Form) -> None:
    """Ask about one sample after the other, until there are no more or the user ends it."""
    skipped: set[int] = set()
    while True:
        samples = [s for s in local.unlabelled(ASKED + len(skipped)) if s.id not in skipped]
        if not samples:
            click.echo("there is no other sample to label now")
            return
        for sample in samples:
            said = _said(sample, form)
            if said is None:
                return
            skipped.add(sample.id)
            if said != "s" and not local.label(sample.id, form.label(said)):
                click.echo("that sample is not kept any more")


def _said(sample: Sample, form: Form) -> str | None:
    """What the user says it is, a sound label; "s": he skips it; None: he ends."""
    from muster.cli.showing_samples import shown
    from muster.errors import MusterError

    click.echo()
    for line in shown(sample.x):
        click.echo(line)
    if sample.answer is not None:
        unsure = "" if sample.entropy is None else f" (entropy {sample.entropy:.2f})"
        click.echo(f"the model said {form.name(sample.answer)}{unsure}")
    while True:
        try:
            said = click.prompt("what is it? (s skips, q ends)", prompt_suffix=" ").strip()
        except (click.Abort, EOFError):
            click.echo()
            return None
        if said in ("q", "s") and said not in form.names:
            return said if said == "s" else None
        try:
            form.label(said)
        except MusterError as error:
            click.echo(error.sentence)
        else:
            return str(said)


def _from_file(local: LocalSet, form: Form, file: Path) -> None:
    """Labels of requests by their ids. All lines are looked at before the first label is given."""
    import csv

    from muster.errors import MusterError

    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = [row for row in csv.reader(lines) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MusterError("bad_data", f"{file} cannot be read as a CSV file: {error}") from error
    if rows and [cell.strip().lower() for cell in rows[0]] == ["id", "label"]:
        del rows[0]
    if len(rows) > LINES_MAX:
        raise MusterError("bad_data", f"{file} has over {LINES_MAX:,} lines: cut it into several files")
    given = []
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise MusterError("bad_data", f"row {number} of {file} has {len(row)} values: give id,label")
        try:
            given.append((row[0].strip(), form.label(row[1])))
        except MusterError as error:
            raise MusterError("bad_data", f"row {number} of {file}: {error.sentence}") from error
    found = sum(local.label(key, value) for key, value in given)
    click.echo(f"{found} of {len(given)} samples got their labels; the others are not kept (any more)")
