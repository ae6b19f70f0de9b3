"""What the end-to-end tests do with a fleet of real processes: start it, ask, wait, break something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil

from muster.emulation.scenario import Scenario
from muster.emulation.scenario_file import parse
from muster.node.api.client import LogView
from muster.node.api.snapshot import JobSnapshot
from muster.simulation.faults import Kill
from patience import patient_s
from small_fleet import SmallFleet, small_fleet

LOOK_S = 0.1
LOG_LINES = 60
START_S = 60.0  # for a few daemons on a busy machine
PATIENCE_S = 6.0
CALM = Path(__file__).parent / "calm.py"
LAN = "rate_kbit_s = 100000, delay_ms = 0.5, queue_ms = 50"


def mesh(names: Sequence[str], link: str = LAN) -> Scenario:
    """All linked with all."""
    nodes = ", ".join(f'{{ name = "{name}" }}' for name in names)
    members = ", ".join(f'"{name}"' for name in names)
    text = f'nodes = [{nodes}]\n[[groups]]\nname = "all"\nnodes = [{members}]\nlink = {{ {link} }}\n'
    return parse(text, "mesh", "mesh.toml")


@asynccontextmanager
async def field(scenario: Scenario, task: Path = CALM, **more: Any) -> AsyncIterator[SmallFleet]:
    """The scenario's nodes, running, each linked with one other at least."""
    more.setdefault("config", {"trainer": {"niceness": 0}})
    async with small_fleet(scenario, str(task), **more) as fleet:
        names = scenario.names()
        for number in range(len(names)):
            await fleet.spawn(number)
        with shown_if_it_fails(fleet):
            for name in names:
                await fleet.until_linked(name, 1, patient_s(START_S))
            yield fleet


@contextmanager
def shown_if_it_fails(fleet: SmallFleet) -> Iterator[None]:
    """What the nodes said, for whoever reads why a test failed."""
    try:
        yield
    except BaseException:
        for name in fleet.request.scenario.names():
            lines = (fleet.rundir / name / "output.log").read_text("utf-8", "replace").splitlines()
            print(f"--- {name}", *lines[-LOG_LINES:], sep="\n")
        raise


async def ask(fleet: SmallFleet, name: str, **options: Any) -> str:
    """A user at this node asks for help."""
    options = {"patience_s": PATIENCE_S, "min_nodes": 2, **options}
    task = Path(fleet.request.task).stem
    return await asyncio.to_thread(lambda: fleet.client(name).train(task, **options))


async def view(fleet: SmallFleet, name: str, job: str) -> JobSnapshot | None:
    """The job as a node sees it; None while it does not answer or does not know it."""
    seen = await fleet.snapshot(name)
    return next((j for j in seen.jobs if j.id == job), None) if seen is not None else None


async def until(what: str, holds: Callable[[], Any], limit_s: float) -> None:
    """`holds` is a coroutine function; it is asked again and again."""
    try:
        async with asyncio.timeout(patient_s(limit_s)):
            while not await holds():
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"not within {limit_s:g} s: {what}") from None


async def until_round(
    fleet: SmallFleet, name: str, job: str, number: int, limit_s: float = 90.0
) -> JobSnapshot:
    """The node holds a head of at least this round."""
    found: list[JobSnapshot] = []

    async def there() -> bool:
        seen = await view(fleet, name, job)
        if seen is not None and seen.round >= number:
            found.append(seen)
        return bool(found)

    await until(f"{name} at round {number}", there, limit_s)
    return found[-1]


async def until_one_end(fleet: SmallFleet, names: Sequence[str], job: str, limit_s: float = 90.0) -> None:
    """All of these nodes see the job finished, with one and the same head, and no update waits any more."""

    async def ended() -> bool:
        seen = [await view(fleet, name, job) for name in names]
        there = [v for v in seen if v is not None and v.state == "finished"]
        waiting = sum(c.updates_waiting for v in there for c in v.contributions)
        return len(there) == len(names) and len({v.head for v in there}) == 1 and not waiting

    try:
        await until(f"one end for {', '.join(names)}", ended, limit_s)
    except AssertionError as error:
        told = [await view(fleet, name, job) for name in names]
        raise AssertionError(
            f"{error}: {[v and (v.state, v.round, v.head[:8], v.why) for v in told]}"
        ) from None


async def log(fleet: SmallFleet, name: str, job: str) -> LogView:
    return await asyncio.to_thread(fleet.client(name).log, job)


async def end_all(fleet: SmallFleet) -> None:
    """Every process is killed: what is on the disks then is what was written."""
    for name in fleet.request.scenario.names():
        await fleet.net.apply(Kill(name))


def trainer_of(fleet: SmallFleet, name: str) -> psutil.Process | None:
    """The process that trains on a node."""
    daemon = psutil.Process(fleet.net.processes(name)[-1].pid)
    for child in daemon.children():
        if "muster.node.trainer.child" in child.cmdline():
            return child
    return None


async def wait_for(process: psutil.Process) -> None:
    await asyncio.to_thread(process.wait, patient_s(10.0))
