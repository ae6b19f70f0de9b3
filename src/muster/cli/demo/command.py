"""`muster demo`: one whole job on an emulated network, with a view of it and a report at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muster.cli.options import job_request, recipe_options, stop_options
from muster.cli.output import json_option

if TYPE_CHECKING:
    from muster.cli.demo.outcome import DemoOutcome
    from muster.cli.demo.preparation import DemoRequest
    from muster.cli.demo.report import CourierFigures, Report

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--scenario", help="A name or a TOML file; default field-8.")
@click.option(
    "--task", help="digits, mnist, a task's .py file, or a folder with a Flower app; default digits."
)
@click.option("--data", type=FILE, help="The task's data, such as an .npz file of MNIST.")
@click.option(
    "--split",
    help="iid, classes:N, alone:N:M (each of the last M nodes has N classes of its own) or dirichlet:A; "
    "default classes:2.",
)
@stop_options
@recipe_options
@click.option("--from", "start", type=FILE, metavar="FILE", help="Begin with these parameters (safetensors).")
@click.option("--plain", is_flag=True, help="Lines instead of the view; so it is without a terminal.")
@click.option("--report", "report_path", type=FILE, metavar="FILE", help="Write all figures as JSON.")
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep homes, logs and model here."
)
@click.option(
    "--story",
    type=click.Choice(["partition", "narrow", "courier", "adapt"]),
    help="partition: a link is cut and the coordinator killed in mid-job, then all meet again. "
    "narrow: nine nodes around one on 9.6 kbit/s. courier: two nodes that are met once and alone have some "
    "classes, first with updates alone, then with samples that stand in for them. adapt: models in use; four "
    "cameras turn, their nodes notice, train together, check and swap; a bad model goes back by itself. With "
    "--data FILE these three take MNIST.",
)
@click.option("--no-compare", is_flag=True, help="Do not train alone and on all data for comparison.")
@click.option("--page", metavar="HOST:PORT", help="Where the page is. Default 127.0.0.1:7450 or above.")
@click.option("--no-page", is_flag=True, help="No page; else it opens in a browser where there is one.")
@click.option(
    "--stay/--no-stay",
    default=None,
    help="Keep all nodes and the page until Ctrl-C. Default: if a browser was opened.",
)
@json_option
def demo(
    scenario: str | None,
    task: str | None,
    data: Path | None,
    split: str | None,
    start: Path | None,
    plain: bool,
    report_path: Path | None,
    keep: Path | None,
    story: str | None,
    no_compare: bool,
    page: str | None,
    no_page: bool,
    stay: bool | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Start a node process for each node of SCENARIO on an emulated network; they train one model together.

    Ends with the model's figures, beside the best single node alone and training on all data in one place.
    """
    from rich.console import Console

    from muster.cli.demo import report as reports
    from muster.cli.demo.adapt.run import run_adapt
    from muster.cli.demo.outcome import report_of
    from muster.cli.demo.run import run_demo
    from muster.cli.demo.views.page import WatchedNode, demo_page, until_ctrl_c
    from muster.cli.demo.views.summary import print_history, print_summary
    from muster.cli.demo.views.terminal import LiveView, PlainView
    from muster.cli.interrupt import run_until_interrupted
    from muster.http.address import address

    request = _request(scenario, task, data, split, start, story, given)
    where = None if no_page else address(page or "")
    if report_path is not None:
        reports.check_writable(report_path)
    console = Console(stderr=as_json)
    view: LiveView | PlainView = PlainView(console)
    if not (plain or as_json) and console.is_terminal:
        view = LiveView(console)

    def say(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False)

    with _rundir(keep) as rundir:
        to = _model_path(keep, request.task)

        async def main() -> Report:
            watched = WatchedNode(rundir / request.scenario.names()[0])
            title = f"{request.task} on {request.scenario.name}"
            async with demo_page(watched, where, rundir, title, browser=not as_json) as shown:
                for line in shown.lines:
                    say(line)
                staying = shown.in_browser if stay is None else stay
                with view:
                    play = run_adapt if story == "adapt" else run_demo
                    run = play(request, rundir, to, view.show, say, watched)
                    async with run as outcome:
                        if staying:
                            view.stop()
                            made = await finish(outcome)
                            say("all nodes and the page stay until Ctrl-C")
                            await until_ctrl_c()
                            return made
            return await finish(outcome)

        async def finish(outcome: DemoOutcome) -> Report:
            compares = not no_compare and outcome.adapt is None
            compared, courier = await _compared(request, outcome, say) if compares else ({}, None)
            made = report_of(request, outcome, compared, courier)
            if not as_json:
                print_summary(made, console.file)
                if request.story is not None:
                    print_history(outcome.log, console.file)
            return made

        def leave_at_once() -> None:
            if keep is None:
                shutil.rmtree(rundir, ignore_errors=True)

        made = run_until_interrupted(main, on_first=view.stop, on_second=leave_at_once)
    if report_path is not None:
        reports.write(made, report_path)
        say(f"report: {report_path}")
    if as_json:
        from muster.cli.output import emit

        emit(made)


async def _compared(
    request: DemoRequest, outcome: DemoOutcome, say: Callable[[str], None]
) -> tuple[dict[str, Any], CourierFigures | None]:
    """What the model is set beside; says so where there is nothing."""
    from muster.cli.demo.baselines import baselines
    from muster.cli.demo.stories.courier_figures import courier_figures

    if len(request.acts) > 1:
        say("comparing with everybody present in every round ...")
        found = await courier_figures(request, outcome.acts)
        if not isinstance(found, str):
            return {}, found
        say(f"no comparison: {found}")
        return {}, None
    say("comparing with each node alone and with all data in one place ...")
    compared = await baselines(request, outcome.job)
    if "why" in compared:
        say(f"no comparison: {compared['why']}")
    return compared, None


def _request(
    scenario: str | None,
    task: str | None,
    data: Path | None,
    split: str | None,
    start: Path | None,
    story: str | None,
    given: dict[str, Any],
) -> DemoRequest:
    """Everything that can be wrong with the options is found here, before anything is started."""
    from muster.algorithms import splits
    from muster.cli.commands.train import readable
    from muster.cli.demo.preparation import DemoRequest
    from muster.cli.demo.stories import chosen
    from muster.emulation.scenario_file import load
    from muster.errors import MusterError
    from muster.learning.task import installed, is_file, is_flower

    task = task or chosen.task(story, data)
    scenario = scenario or chosen.SCENARIOS.get(story or "", "field-8")
    if is_file(task):
        if not Path(task.partition(".py")[0] + ".py").is_file():
            raise MusterError("unknown_task", f"there is no task file {task}: check the path")
    elif os.sep in task and is_flower(task, {}):
        pass
    elif task not in installed():
        raise MusterError(
            "unknown_task",
            f"there is no task {task!r}; there are {', '.join(sorted(installed()))}, a .py file, or the"
            " folder of a Flower app (with a '/' in its path)",
        )
    if data is not None and not data.is_file():
        raise MusterError("bad_data", f"there is no data file {data}: check the path")
    if task == "mnist" and data is None:
        raise MusterError("bad_data", "the task mnist needs its data: give the .npz file with --data FILE")
    if split is not None:
        splits.parse(split)
    options = job_request(given)
    if start is not None:
        options["from"] = str(readable(start))
    loaded = load(scenario)
    shares = "one_shot" in options or options.get("share", "none") != "none"
    return chosen.with_story(
        story,
        DemoRequest(
            loaded, task, split or chosen.split(story, loaded), given.get("seed") or 0,
            data.absolute() if data else None, options, policy={"share": "samples"} if shares else {},
        ),
    )  # fmt: skip


@contextlib.contextmanager
def _rundir(keep: Path | None) -> Iterator[Path]:
    """A directory for homes and sockets: `keep`, or one that is removed at the end."""
    from muster.errors import MusterError

    if keep is None:
        with tempfile.TemporaryDirectory(prefix="muster-", ignore_cleanup_errors=True) as temporary:
            yield Path(temporary)
        return
    absolute = keep.expanduser().absolute()
    try:
        absolute.mkdir(parents=True, exist_ok=True)
        busy = any(absolute.iterdir())
    except OSError as error:
        raise MusterError("home", f"the directory {keep} cannot be used: {error.strerror}") from error
    if busy:
        raise MusterError("home", f"the directory {keep} is not empty: choose a new one for --keep")
    yield absolute


def _model_path(keep: Path | None, task: str) -> Path:
    """Where the model goes, without suffix: it must outlive the throw-away directory."""
    from muster.cli.demo.preparation import task_name
    from muster.errors import MusterError
    from muster.node.config import data_root

    folder = keep.expanduser().absolute() if keep is not None else data_root() / "_demo"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MusterError("home", f"{folder} cannot be made for the model: {error.strerror}") from error
    return folder / task_name(task)
