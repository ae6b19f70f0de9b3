"""Runs the story: network, nodes, servers and generator come up, the script is played, all is measured."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from muster.cli.demo.adapt import figures, programs
from muster.cli.demo.adapt.company import Company
from muster.cli.demo.adapt.script import Found, Interlude, Script
from muster.cli.demo.baselines import LIMIT_S, child, task_of
from muster.cli.demo.fleet import DemoFleet
from muster.cli.demo.launch import launch
from muster.cli.demo.network import open_network
from muster.cli.demo.outcome import DemoOutcome, Played
from muster.cli.demo.preparation import DemoRequest, task_name
from muster.cli.demo.report import AdaptReport
from muster.cli.demo.run import listen, until_up
from muster.cli.demo.stories.adapt import cameras_of
from muster.cli.demo.views.frame import Frame
from muster.cli.demo.views.page import WatchedNode
from muster.errors import MusterError
from muster.serving import pointer
from muster.serving.paths import folder_of

MAKING = "muster.cli.demo.adapt.making"
FAULTS_SAID = 5
TICK_S = 0.25


def question_of(request: DemoRequest, rundir: Path) -> dict[str, Any]:
    """What the processes that make models and figures are asked with."""
    task = task_of(request)
    options = {key: value for key, value in task["options"].items() if key != "serve"}
    return {
        "task": task["task"],
        "options": options,
        "names": list(request.scenario.names()),
        "cameras": list(cameras_of(request.scenario)),
        "seed": request.seed,
        "folder": str(rundir),
    }


@contextlib.asynccontextmanager
async def run_adapt(
    request: DemoRequest,
    rundir: Path,
    to: Path,
    show: Callable[[Frame], None],
    say: Callable[[str], None],
    page: WatchedNode | None = None,
    interlude: Interlude | None = None,
) -> AsyncIterator[DemoOutcome]:
    """The whole story; `show` gets a frame four times a second, `say` single lines before the view.

    Yields when the script has been played; all that was started ends with the context.
    """
    question = question_of(request, rundir)
    began_s = time.monotonic()
    homes = {name: rundir / name for name in request.scenario.names()}
    task = task_name(request.task)
    async with contextlib.AsyncExitStack() as stack:
        net = await stack.enter_async_context(open_network(request.scenario, rundir, say))
        fleet = DemoFleet(request, rundir, net, page)
        making = asyncio.ensure_future(_made(question))
        stack.callback(making.cancel)
        # before the daemons, which would start servers of their own, out of the generator's reach
        await stack.enter_async_context(programs.servers(homes, task))
        await launch(request, rundir, net)
        await until_up(fleet, lambda: show(fleet.frame()))
        setup_s = fleet.elapsed_s()
        fleet.say("the first model is trained, in one place, with what all nodes have from the beginning")
        fleet.phase = "the first model is trained"
        while not making.done():
            await fleet.observe()
            show(fleet.frame())
            await asyncio.sleep(TICK_S)
        making.result()
        sending = programs.generator(homes, task, rundir / "world.npz", request.seed, rundir)
        generator = await stack.enter_async_context(sending)
        listening = asyncio.ensure_future(listen(fleet))
        stack.callback(listening.cancel)
        company = Company(fleet, generator, cameras_of(request.scenario), show)

        async def make_wrong(model: Path) -> Path:
            await _asked({**question, "make": "wrong", "model": str(model)})
            return rundir / "wrong.safetensors"

        found = await Script(company, rundir, make_wrong, interlude).play()
        yield await _outcome(company, found, question, to, setup_s, time.monotonic() - began_s)


async def _made(question: dict[str, Any]) -> None:
    await _asked({**question, "make": "first"})


async def _asked(question: dict[str, Any]) -> dict[str, Any]:
    """What the child says. Raises MusterError."""
    said = await child(MAKING, question)
    if "why" in said:
        raise MusterError("failed", f"the story cannot be prepared: {said['why']}")
    return said


async def _outcome(
    company: Company, found: Found, question: dict[str, Any], to: Path, setup_s: float, wall_s: float
) -> DemoOutcome:
    """Measure all; no more requests are sent, so that it is soon done."""
    fleet = company.fleet
    log = await asyncio.to_thread(fleet.client().log, found.job)
    exported = await asyncio.to_thread(fleet.client().export, found.job, to)
    totals = {f"{a}->{b}": count for (a, b), count in sorted(fleet.meter.totals().items())}
    sent, job_s = fleet.sent(), fleet.elapsed_s()
    for name in fleet.names:
        company.order(name, rate=0.0)
    in_use = {name: _model(fleet.home(name), company.task) for name in fleet.names}
    measured = await company.during(
        figures.measured(question, in_use, log.job.recipe, log.job.round),
        "all models are measured on pictures that no camera saw", LIMIT_S,
    )  # fmt: skip
    if isinstance(measured, str):
        fleet.say(f"no figures: {measured}")
    tally = [company.tally(name) for name in fleet.names]
    report = AdaptReport(
        list(company.cameras), None if isinstance(measured, str) else measured,
        sum(one.requests for one in tally), sum(one.failed for one in tally), sum(one.mixed for one in tally),
        round(max(one.slowest_ms for one in tally), 1), found.noticed_after, found.upright, found.turned,
        found.adapted, found.refused, found.returned_after, round(wall_s, 1),
    )  # fmt: skip
    for fault in [fault for one in tally for fault in one.faults][:FAULTS_SAID]:
        fleet.say(f"a request failed: {fault}")
    await company.observe()
    played = (Played("", log.job, exported, job_s, setup_s),)
    return DemoOutcome(
        log.job, log, exported, job_s, setup_s, totals, fleet.meter.before_reset(), sent, fleet.net.kind,
        played, report,
    )  # fmt: skip


def _model(home: Path, task: str) -> Path:
    """The file of the model in use."""
    folder = folder_of(home, task)
    served = pointer.read(folder)
    if served is None:
        raise MusterError("failed", f"no model of {task} is in use in {home}")
    return served.current.path(folder)
