"""A demo from the first namespace to the report: nodes come up, one asks for help, a model comes out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from muster import __version__
from muster.cli.demo.frame import EVENTS_MAX, Frame, LinkMeter, curve_of, node_rows
from muster.cli.demo.network import DemoNetwork, open_network
from muster.cli.demo.page import WatchedNode
from muster.cli.demo.preparation import DemoRequest, dials, node_config, task_name
from muster.cli.demo.report import FORMAT, NodeReport, Report, SentReport, ValuesReport
from muster.cli.demo.stage import Stage
from muster.errors import MusterError
from muster.network.trust.identity import init_fleet, issue
from muster.node.api.async_client import follow_events, look
from muster.node.api.client import Client, Exported, LogView
from muster.node.api.snapshot import JobSnapshot, NodeEvent, SentView, Snapshot

START_S = 40.0  # for all daemons to answer
GATHER_S = 12.0  # for the asker to hear of everybody who is there
GATHER_NARROW_S = 300.0  # handshakes take 15 s at 9.6 kbit/s, and a listener takes one at a time
TICK_S = 0.25
LOOK_S = 0.5
COUNT_S = 1.0
VALUES_S = 5.0  # after the end, for the values of the last rounds
FROZEN_S = 1.0  # a node that does not answer in this time is shown as it was
LOST_S = 60.0  # nobody knows the job any more
ENDED = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class DemoOutcome:
    """What a demo brought, before the comparison with training alone and together."""

    job: JobSnapshot
    log: LogView
    exported: Exported
    frame: Frame
    wall_s: float
    setup_s: float
    bytes_by_link: dict[str, int]
    bytes_setup: int
    bytes_sent: SentReport
    emulation: str


class DemoFleet:
    """The running nodes of a demo and what is known about them."""

    def __init__(
        self, request: DemoRequest, rundir: Path, net: DemoNetwork, page: WatchedNode | None = None
    ) -> None:
        self.request = request
        self._page = page
        self.rundir = rundir
        self.net = net
        self.names = request.scenario.names()
        self.snapshots: dict[str, Snapshot] = {}
        self.meter = LinkMeter()
        self.events: deque[tuple[float, str]] = deque(maxlen=EVENTS_MAX)
        self.told = 0
        self.phase = "starting"
        self.job_id: str | None = None
        self.job: JobSnapshot | None = None
        self.sent_before: dict[str, SentView] = {}
        self.asked_s = self.start_s = asyncio.get_running_loop().time()
        self.watched = self.names[0]  # whose word counts: the asker's, another's once that one is gone
        self.stage = Stage(request.story, net.apply, self.say) if request.story else None
        self._away: frozenset[str] = frozenset()
        self._gone: frozenset[str] = frozenset()
        self._seen_s = self.start_s
        self._counted_s = self.start_s - COUNT_S

    def home(self, name: str) -> Path:
        return self.rundir / name

    def client(self) -> Client:
        return Client(self.home(self.watched))

    def elapsed_s(self) -> float:
        return asyncio.get_running_loop().time() - self.asked_s

    def say(self, text: str) -> None:
        self.told += 1
        self.events.append((self.elapsed_s(), text))

    # starting

    async def start(self) -> None:
        """Write homes, bundles and node.toml files, and start the daemons."""
        fleet = await asyncio.to_thread(init_fleet, self.rundir / "fleet", "demo")
        for number, name in enumerate(self.names):
            home = self.home(name)
            home.mkdir(parents=True, exist_ok=True)
            bundle = issue(fleet.directory, name, home / "bundle.pem")
            connect = tuple(self.net.endpoint(name, other) for other in dials(self.request.scenario, name))
            listen = self.net.listen(name)
            config = home / "node.toml"
            config.write_text(
                tomli_w.dumps(node_config(self.request, number, home, bundle, listen, connect)), "utf-8"
            )
        # The user's own home must not become that of eight nodes.
        env = {key: value for key, value in os.environ.items() if key != "MUSTER_HOME"}
        for name in self.names:
            argv = [
                sys.executable,
                "-m",
                "muster.cli.main",
                "node",
                "--config",
                str(self.home(name) / "node.toml"),
            ]
            await self.net.spawn(name, argv, env=env, stdout=self.home(name) / "output.log")

    async def until_up(self, show: Callable[[], None]) -> None:
        """Every daemon answers, and the asker has heard of all who are there (or `GATHER_S` are over)."""
        while len(self.snapshots) < len(self.names):
            self.phase = f"starting: {len(self.snapshots)} of {len(self.names)} nodes are up"
            await self.observe()
            show()
            for name in self._gone:
                raise MusterError("failed", f"the node {name} ended while starting: {self.last_words(name)}")
            if self.elapsed_s() > START_S:
                late = ", ".join(sorted(set(self.names) - set(self.snapshots)))
                raise MusterError("timeout", f"these nodes did not come up within {START_S:g} s: {late}")
            await asyncio.sleep(TICK_S)
        self.say(f"{len(self.names)} nodes are up")
        deadline_s = self.elapsed_s() + (GATHER_NARROW_S if self.request.narrow() else GATHER_S)
        while self.elapsed_s() < deadline_s:
            asker = self.snapshots[self.names[0]]
            heard = {p.name for p in asker.peers if p.reachable or p.heard_s is not None} | {asker.node.name}
            missing = [n for n in self.names if n not in heard and n not in self._away]
            if not missing and self._introduced():
                break
            self.phase = f"{asker.node.name} has not heard of {', '.join(missing)} yet"
            if not missing:
                self.phase = "nodes learn who else there is"
            await self.observe()
            show()
            await asyncio.sleep(TICK_S)

    def _introduced(self) -> bool:
        """On narrow links: whether everybody knows everybody, so that what comes then is the job's."""
        if not self.request.narrow():
            return True
        there = [s for n, s in self.snapshots.items() if n not in self._away]
        return all(len(s.peers) >= len(there) - 1 for s in there)

    def last_words(self, name: str) -> str:
        """The last line that a node's process wrote."""
        path = self.home(name) / "output.log"
        with contextlib.suppress(OSError):
            lines = [line for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
            if lines:
                return lines[-1].removeprefix("muster: ")[:300]
        return f"it wrote nothing to {path}"

    # watching

    async def observe(self) -> None:
        """Ask every node and the radio how they are."""
        loop = asyncio.get_running_loop()
        alive = [name for name in self.names if name not in self._gone]
        found = await asyncio.gather(*(look(self.home(name), FROZEN_S) for name in alive))
        for name, snapshot in zip(alive, found, strict=True):
            if snapshot is not None:
                self.snapshots[name] = snapshot
                self._take_job(snapshot)
        away = frozenset(name for name in self.names if self.net.is_away(name))
        for name in sorted(away - self._away):
            self.say(f"{name} switches its radio off")
        for name in sorted(self._away - away):
            self.say(f"{name} has its radio on again")
        gone = frozenset(name for name in self.names if self.net.ended(name))
        for name in sorted(gone - self._gone - (self.stage.killed if self.stage else set())):
            self.say(f"the process of {name} ended: {self.last_words(name)}")
        self._away, self._gone = away, gone
        if self.watched in gone:
            self.watched = self._next_watched(gone)
            if self._page is not None:
                self._page.home = self.home(self.watched)
            self.say(f"from here on as {self.watched} sees it")
        if self.stage is not None and self.job_id is not None:
            await self.stage.play(self.job_id, self.snapshots)
        if loop.time() - self._counted_s >= COUNT_S:
            self._counted_s = loop.time()
            self.meter.add(loop.time(), await self.net.bytes())

    def _next_watched(self, gone: frozenset[str]) -> str:
        sides = self.request.story.sides if self.request.story else None
        candidates = ([sides.near_end] if sides else []) + list(self.names)
        return next((name for name in candidates if name not in gone), self.watched)

    def _take_job(self, snapshot: Snapshot) -> None:
        """The job as the watched node sees it."""
        if self.job_id is None or snapshot.node.name != self.watched:
            return
        for job in snapshot.jobs:
            if job.id == self.job_id:
                self.job = job
                self._seen_s = asyncio.get_running_loop().time()

    def sent(self) -> SentReport:
        """What all nodes sent since the job was asked for; of one started anew what it has since."""
        totals = dict.fromkeys(SentView.__struct_fields__, 0)
        for name, snapshot in self.snapshots.items():
            before, now = self.sent_before.get(name, SentView()), snapshot.node.sent
            if now.payload < before.payload or now.exchange < before.exchange:
                before = SentView()
            for key in totals:
                totals[key] += getattr(now, key) - getattr(before, key)
        return SentReport(**totals)

    def frame(self) -> Frame:
        scenario = self.request.scenario
        page = f", page {self._page.address}" if self._page and self._page.address else ""
        return Frame(
            f"{self.request.task} on {scenario.name}: {len(self.names)} nodes, {self.net.kind}{page}",
            self.phase,
            self.elapsed_s(),
            self.job,
            curve_of(self.job),
            node_rows(self.names, self.snapshots, self._away, self._gone, self.job),
            self.meter.rows(tuple((link.a, link.b) for link in scenario.links), self.net.down()),
            tuple(self.events),
            self.told,
        )

    # the job

    async def ask(self) -> None:
        """The scenario's first node asks the others for help."""
        self.meter.add(asyncio.get_running_loop().time(), await self.net.bytes())
        self.meter.reset()
        await self.observe()
        self.sent_before = {name: snapshot.node.sent for name, snapshot in self.snapshots.items()}
        client = self.client()
        self.job_id = await asyncio.to_thread(
            client.train, task_name(self.request.task), **self.request.options
        )
        self.asked_s = asyncio.get_running_loop().time()
        self.events = deque(((0.0, text) for _, text in self.events), maxlen=EVENTS_MAX)

    async def listen(self) -> None:
        """Put the watched node's events into words as they come; goes on with another when that one ends."""
        name, since = self.watched, self.snapshots[self.watched].event
        while True:
            with contextlib.suppress(OSError, MusterError):
                async for event in follow_events(self.home(name), since):
                    since = event.number
                    self._tell(name, event)
            await asyncio.sleep(1.0)
            if self.watched != name:
                name, since = self.watched, self.snapshots[self.watched].event

    def _tell(self, teller: str, event: NodeEvent) -> None:
        """An event with its subject: a node leaves out its own name."""
        name = event.node or teller
        own = event.kind in ("offer", "training", "update") and not event.text.startswith(name)
        self.say(f"{name} {event.text}" if own else event.text)

    async def until_done(self, show: Callable[[], None]) -> JobSnapshot:
        while True:
            await self.observe()
            show()
            if self.job is not None and self.job.state in ENDED and self._over(self.job):
                return self.job
            if asyncio.get_running_loop().time() - self._seen_s > LOST_S:
                raise MusterError("failed", "no node answers any more: see their logs, with --keep DIR")
            await asyncio.sleep(TICK_S if sys.stdout.isatty() else LOOK_S)

    async def stay(self) -> None:
        """After the job: notice who goes, for the page."""
        while True:
            await asyncio.sleep(COUNT_S)
            await self.observe()

    async def settle(self) -> None:
        """The last events, and the last rounds' values, which come after the end."""
        for _ in range(round(VALUES_S / TICK_S)):
            await asyncio.sleep(TICK_S)
            await self.observe()
            values = self.job.values if self.job is not None else None
            if values is None or values.valued == values.rounds:
                break
        await asyncio.sleep(TICK_S)
        await self.observe()
        if missed := await self.net.missed():
            self.say(
                f"this machine was too slow to emulate all traffic of {', '.join(missed)}: figures are off"
            )

    def _over(self, job: JobSnapshot) -> bool:
        if self.stage is None or job.state == "failed":
            return True
        return self.stage.over(job.id, self.snapshots, self._away | self._gone)


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
        field = DemoFleet(request, rundir, net, page)
        await field.start()
        await field.until_up(lambda: show(field.frame()))
        setup_s = field.elapsed_s()
        listening = asyncio.ensure_future(field.listen())
        try:
            await field.ask()
            job = await field.until_done(lambda: show(field.frame()))
            wall_s = field.elapsed_s()
            field.meter.add(asyncio.get_running_loop().time(), await field.net.bytes())
            if job.state == "failed":
                raise MusterError("failed", f"the job ended without a model: {job.error or job.why}")
            await field.settle()
            frame = field.frame()
            client = field.client()
            log = await asyncio.to_thread(client.log, job.id)
            exported = await asyncio.to_thread(client.export, job.id, to)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        staying = asyncio.ensure_future(field.stay())
        totals = {f"{a}->{b}": count for (a, b), count in sorted(field.meter.totals().items())}
        show(frame)
        zero = field.meter.before_reset()
        try:
            yield DemoOutcome(
                log.job, log, exported, frame, wall_s, setup_s, totals, zero, field.sent(), field.net.kind
            )
        finally:
            staying.cancel()
            await asyncio.gather(staying, return_exceptions=True)


def report_of(request: DemoRequest, outcome: DemoOutcome, baselines: Mapping[str, Any]) -> Report:
    """All that there is to tell."""
    job = outcome.job
    paths = outcome.exported.paths
    return Report(
        format=FORMAT,
        muster=__version__,
        scenario=request.scenario.name,
        task=job.task,
        split=request.split,
        seed=request.seed,
        recipe=job.recipe,
        emulation=outcome.emulation,
        job=job.id,
        state=job.state,
        why=job.why,
        accuracy=outcome.exported.accuracy if outcome.exported.accuracy is not None else job.accuracy,
        accuracy_best_single=baselines.get("best_single"),
        best_single=baselines.get("best_name"),
        accuracy_pooled=baselines.get("pooled"),
        accuracy_by_time=[[c.age_s, c.accuracy] for c in outcome.log.commits if c.accuracy is not None],
        rounds=job.round,
        wall_s=round(outcome.wall_s, 2),
        setup_s=round(outcome.setup_s, 2),
        bytes_by_link=outcome.bytes_by_link,
        bytes_total=sum(outcome.bytes_by_link.values()),
        bytes_setup=outcome.bytes_setup,
        bytes_sent=outcome.bytes_sent,
        model_bytes=job.model_bytes,
        nodes={
            c.node: NodeReport(**{name: getattr(c, name) for name in NodeReport.__struct_fields__})
            for c in job.contributions
        },
        values=msgspec.convert(job.values, ValuesReport | None, from_attributes=True),
        model_path=paths[0] if paths else None,
        model_paths=list(paths),
    )
