"""`muster task`: help for who writes a task."""

from __future__ import annotations

import contextlib
import resource
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muster.cli.output import emit, json_option, percent, size, table
from muster.errors import MusterError

if TYPE_CHECKING:
    from muster.learning.task_check import TaskReport


@click.group()
def task() -> None:
    """Check a task of your own."""


@task.command()
@click.argument("reference", metavar="FILE")
@click.option("--data", metavar="FILE", help="Handed to the task as its option data.")
@click.option("--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Any other option of the task.")
@json_option
def check(reference: str, data: str | None, pairs: tuple[str, ...], as_json: bool) -> None:
    """Do a few training steps of the task in FILE (task.py, task.py:Class, or an installed name).

    Shows its size, speed and memory, and what is wrong with it. Ends with 0 when it can be trained.
    """
    options = _options(pairs)
    if data is not None:
        options["data"] = data
    report = _checked(reference, options)
    if as_json:
        emit({**{name: getattr(report, name) for name in report.__dataclass_fields__}, "good": report.good})
    else:
        table(
            (
                "TASK",
                "VERSION",
                "FINGERPRINT",
                "PARAMETERS",
                "MODEL",
                "SAMPLES",
                "STEP",
                "MEMORY",
                "AFTER 6 STEPS",
            ),
            [
                [
                    report.name,
                    report.version,
                    report.fingerprint[:8],
                    str(report.parameters),
                    size(report.model_bytes),
                    str(report.samples),
                    f"{1000 * report.step_s:.1f} ms",
                    size(report.memory_bytes),
                    percent(report.accuracy),
                ]
            ],
        )
    if report.faults:
        raise MusterError(
            "task_fault", f"the task {report.name} cannot be trained: " + "; ".join(report.faults)
        )
    if not as_json:
        click.echo(
            f"good: put it into a node's node.toml as [tasks.{report.name}], then muster train {report.name}"
        )


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


def _checked(reference: str, options: dict[str, Any]) -> TaskReport:
    """The check's report; what the task's own code raises becomes one sentence with its line."""
    from muster.learning import task_check as checks
    from muster.learning.faults import TaskFault
    from muster.learning.task import load

    try:
        return checks.check(load(reference, options), time.perf_counter, _peak_bytes)
    except MusterError:
        raise
    except TaskFault as error:
        raise MusterError("task_fault", f"the task {reference} cannot be trained: {error}") from error
    except Exception as error:
        raise MusterError(
            "task_fault",
            f"the task {reference} fails with {type(error).__name__}: {error}{_where(error, reference)}",
        ) from error


def _where(error: Exception, reference: str) -> str:
    """ " (task.py, line 12)": the last place in the user's own file."""
    if isinstance(error, SyntaxError):
        return ""  # says so itself
    name = Path(reference.partition(".py")[0] + ".py").name
    for entry in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(entry.filename).name == name:
            return f" ({name}, line {entry.lineno})"
    return ""


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
