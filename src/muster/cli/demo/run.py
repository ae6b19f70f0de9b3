"""Runs a demo: the network and its nodes come up, one node asks for help, a model comes out."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from muster.cli.demo.fleet import COUNT_S, DemoFleet
from muster.cli.demo.launch import last_output_line, launch
from muster.cli.demo.network import open_network
from muster.cli.demo.outcome import DemoOutcome, Played
from muster.cli.demo.preparation import Act, DemoRequest, task_name
from muster.cli.demo.views.frame import Frame
from muster.cli.demo.views.page import WatchedNode
from muster.errors import MusterError
from muster.node.api.async_client import follow_events
from muster.node.api.snapshot import JobSnapshot, NodeEvent

START_S = 40.0  # for all daemons to answer
GATHER_S = 12.0  # for the asker to hear of everybody who is there
GATHER_NARROW_S = 300.0  # handshakes take 15 s at 9.6 kbit/s, and a listener takes one at a time
TICK_S = 0.25
LOOK_S = 0.5
VALUES_S = 5.0  # after the end, for the values of the last rounds
LOST_S = 60.0  # nobody knows the job any more
ENDED = ("finished", "stopped", "failed")


@contextlib.asynccontextmanager
async def run_demo(
    request: DemoRequest,
    rundir: Path,
    to: Path,
    show: Callable[[Frame], None],
    say: Callable[[str], None],
    page: WatchedNode | None = None,
) -> AsyncIterator[DemoOutcome]:
    """The whole demo; `show` gets a frame four times a second, `say` single lines before the view.

    Yields when the job is over; the network and its nodes end with the context.
    """
    async with open_network(request.scenario, rundir, say) as net:
        fleet = DemoFleet(request, rundir, net, page)
        await fleet.set_stage()
        await launch(request, rundir, net)
        earlier: list[Played] = []
        for number, act in enumerate(request.acts[:-1], 1):
            earlier.append(await _play(fleet, act, rundir / f"act-{number}", lambda: show(fleet.frame())))
            await fleet.set_stage()
            await fleet.restart()
        last = await _play(fleet, request.acts[-1], to, lambda: show(fleet.frame()))
        frame = fleet.frame()
        log = await asyncio.to_thread(fleet.client().log, last.job.id)
        staying = asyncio.ensure_future(stay(fleet))
        totals = {f"{a}->{b}": count for (a, b), count in sorted(fleet.meter.totals().items())}
        show(frame)
        zero = fleet.meter.before_reset()
        try:
            yield DemoOutcome(
                log.job, log, last.exported, last.wall_s, last.setup_s, totals, zero, fleet.sent(), net.kind,
                (*earlier, last),
            )  # fmt: skip
        finally:
            staying.cancel()
            await asyncio.gather(staying, return_exceptions=True)


async def until_up(fleet: DemoFleet, show: Callable[[], None]) -> None:
    """Every daemon answers, and the asker has heard of all who are there (or `GATHER_S` are over)."""
    names = fleet.names
    while len(fleet.snapshots) < len(names):
        fleet.phase = f"starting: {len(fleet.snapshots)} of {len(names)} nodes are up"
        await fleet.observe()
        show()
        for name in fleet.gone:
            said = last_output_line(fleet.home(name))
            raise MusterError("failed", f"the node {name} ended while starting: {said}")
        if fleet.elapsed_s() > START_S:
            late = ", ".join(sorted(set(names) - set(fleet.snapshots)))
            raise MusterError("timeout", f"these nodes did not come up within {START_S:g} s: {late}")
        await asyncio.sleep(TICK_S)
    fleet.say(f"{len(names)} nodes are up")
    deadline_s = fleet.elapsed_s() + (GATHER_NARROW_S if fleet.request.narrow() else GATHER_S)
    while fleet.elapsed_s() < deadline_s:
        missing = fleet.unknown_to_asker()
        if not missing and fleet.introduced():
            break
        fleet.phase = f"{names[0]} has not heard of {', '.join(missing)} yet"
        if not missing:
            fleet.phase = "nodes learn who else there is"
        await fleet.observe()
        show()
        await asyncio.sleep(TICK_S)


async def _play(fleet: DemoFleet, act: Act, to: Path, show: Callable[[], None]) -> Played:
    """One act, from nodes that have been started to the exported model."""
    await until_up(fleet, show)
    setup_s = fleet.elapsed_s()
    listening = asyncio.ensure_future(listen(fleet))
    try:
        await _ask(fleet, act)
        job = await _until_done(fleet, show)
        wall_s = fleet.elapsed_s()
        fleet.meter.add(asyncio.get_running_loop().time(), await fleet.net.bytes())
        if job.state == "failed":
            raise MusterError("failed", f"the job ended without a model: {job.error or job.why}")
        await until_valued(fleet)
        exported = await asyncio.to_thread(fleet.client().export, job.id, to)
        return Played(act.title, job, exported, wall_s, setup_s)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _ask(fleet: DemoFleet, act: Act) -> None:
    """The scenario's first node asks the others for help."""
    if act.title:
        fleet.say(f"STORY: {act.title}")
    fleet.meter.add(asyncio.get_running_loop().time(), await fleet.net.bytes())
    fleet.meter.reset()
    await fleet.observe()
    fleet.count_from_now()
    request = fleet.request
    options = {**request.options, **act.options}
    fleet.begin_job(await asyncio.to_thread(fleet.client().train, task_name(request.task), **options))


async def listen(fleet: DemoFleet) -> None:
    """Say the watched node's events as they come; goes on with another node when that one ends."""
    name, since = fleet.watched, fleet.snapshots[fleet.watched].event
    while True:
        with contextlib.suppress(OSError, MusterError):
            async for event in follow_events(fleet.home(name), since):
                since = event.number
                fleet.say(_with_subject(name, event))
        await asyncio.sleep(1.0)
        if fleet.watched != name:
            name, since = fleet.watched, fleet.snapshots[fleet.watched].event


def _with_subject(watched: str, event: NodeEvent) -> str:
    """The event's text; a node leaves out its own name, so it is put in front."""
    name = event.node or watched
    own = event.kind in ("offer", "share", "training", "update") and not event.text.startswith(name)
    return f"{name} {event.text}" if own else event.text


async def _until_done(fleet: DemoFleet, show: Callable[[], None]) -> JobSnapshot:
    """The job, once it and the story are over."""
    while True:
        await fleet.observe()
        show()
        if fleet.job is not None and fleet.job.state in ENDED and fleet.story_over(fleet.job):
            return fleet.job
        if fleet.unseen_s() > LOST_S:
            raise MusterError("failed", "no node answers any more: see their logs, with --keep DIR")
        await asyncio.sleep(TICK_S if sys.stdout.isatty() else LOOK_S)


async def until_valued(fleet: DemoFleet) -> None:
    """Wait for the last events and the last rounds' values, which come after the end."""
    for _ in range(round(VALUES_S / TICK_S)):
        await asyncio.sleep(TICK_S)
        await fleet.observe()
        values = fleet.job.values if fleet.job is not None else None
        if values is None or values.valued == values.rounds:
            break
    await asyncio.sleep(TICK_S)
    await fleet.observe()
    if missed := await fleet.net.missed():
        fleet.say(f"this machine was too slow to emulate all traffic of {', '.join(missed)}: figures are off")


async def stay(fleet: DemoFleet) -> None:
    """After the job: notice who goes, for the page."""
    while True:
        await asyncio.sleep(COUNT_S)
        await fleet.observe()
