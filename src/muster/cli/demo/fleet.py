"""The running nodes of a demo, asked four times a second how they are."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

from muster.cli.demo.launch import last_output_line
from muster.cli.demo.network import DemoNetwork
from muster.cli.demo.preparation import DemoRequest
from muster.cli.demo.report import SentReport
from muster.cli.demo.stories.stage import Stage
from muster.cli.demo.views.frame import EVENTS_MAX, Frame, LinkMeter, curve_of, node_rows
from muster.cli.demo.views.page import WatchedNode
from muster.node.api.async_client import look
from muster.node.api.client import Client
from muster.node.api.snapshot import JobSnapshot, SentView, Snapshot
from muster.simulation.faults import Kill, Restart

COUNT_S = 1.0
FROZEN_S = 1.0  # a node that does not answer in this time is shown as it was


class DemoFleet:
    """What is known about the nodes, their links and the job; `observe` brings it up to date."""

    def __init__(
        self, request: DemoRequest, rundir: Path, net: DemoNetwork, page: WatchedNode | None = None
    ) -> None:
        self.request, self.rundir, self.net, self._page = request, rundir, net, page
        self.names = request.scenario.names()
        self.snapshots: dict[str, Snapshot] = {}
        self.meter = LinkMeter()
        self.events: deque[tuple[float, str]] = deque(maxlen=EVENTS_MAX)
        self.event_count = 0
        self.phase = "starting"
        self.job_id: str | None = None
        self.job: JobSnapshot | None = None
        self.sent_before: dict[str, SentView] = {}
        self.asked_s = self.start_s = asyncio.get_running_loop().time()
        self.watched = self.names[0]  # its view is shown: the asker, another node once that one is gone
        self.stage: Stage | None = None
        self.gone: frozenset[str] = frozenset()  # nodes whose process has ended
        self._away: frozenset[str] = frozenset()
        self._seen_s = self.start_s
        self._counted_s = self.start_s - COUNT_S

    def home(self, name: str) -> Path:
        """The node's home directory."""
        return self.rundir / name

    def client(self) -> Client:
        """The watched node's."""
        return Client(self.home(self.watched))

    def elapsed_s(self) -> float:
        """Since the job was asked for; before that, since the start."""
        return asyncio.get_running_loop().time() - self.asked_s

    def say(self, text: str) -> None:
        """Add a line for people."""
        self.event_count += 1
        self.events.append((self.elapsed_s(), text))

    async def observe(self) -> None:
        """Ask every node and the radio how they are."""
        loop = asyncio.get_running_loop()
        alive = [name for name in self.names if name not in self.gone]
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
        for name in sorted(gone - self.gone - (self.stage.killed if self.stage else set())):
            self.say(f"the process of {name} ended: {last_output_line(self.home(name))}")
        self._away, self.gone = away, gone
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
        story = self.request.story
        candidates = ([story.deputy] if story else []) + list(self.names)
        return next((name for name in candidates if name not in gone), self.watched)

    def _take_job(self, snapshot: Snapshot) -> None:
        """The job as the watched node sees it."""
        if self.job_id is None or snapshot.node.name != self.watched:
            return
        for job in snapshot.jobs:
            if job.id == self.job_id:
                self.job = job
                self._seen_s = asyncio.get_running_loop().time()

    def unknown_to_asker(self) -> list[str]:
        """The nodes in its reach, with their radio on, of which the first node has heard nothing yet."""
        asker = self.snapshots[self.names[0]]
        heard = {p.name for p in asker.peers if p.reachable or p.heard_s is not None} | {asker.node.name}
        apart = self.request.story.unreached if self.request.story else ()
        return [n for n in self.names if n not in heard and n not in self._away and n not in apart]

    def introduced(self) -> bool:
        """On narrow links: whether everybody knows everybody, so that what comes then is the job's."""
        if not self.request.narrow():
            return True
        there = [s for n, s in self.snapshots.items() if n not in self._away]
        return all(len(s.peers) >= len(there) - 1 for s in there)

    def count_from_now(self) -> None:
        """What was sent so far is not the job's."""
        self.sent_before = {name: snapshot.node.sent for name, snapshot in self.snapshots.items()}

    async def set_stage(self) -> None:
        """The network is as the story wants it, before a job begins."""
        self.job_id = None
        if self.request.story is not None:
            self.stage = Stage(self.request.story, self.net.apply, self.say)
            for fault in self.request.story.opening:
                await self.net.apply(fault)

    async def restart(self) -> None:
        """All nodes begin again with their disks: nobody remembers whom it met in the act before."""
        for name in self.names:
            await self.net.apply(Kill(name))
        for name in self.names:
            await self.net.apply(Restart(name))
        self.snapshots, self.watched = {}, self.names[0]
        self.asked_s = asyncio.get_running_loop().time()

    def begin_job(self, job: str) -> None:
        """The clock of the job starts; what was said before stands at 0 s."""
        self.job_id, self.job = job, None
        self.asked_s = self._seen_s = asyncio.get_running_loop().time()
        self.events = deque(((0.0, text) for _, text in self.events), maxlen=EVENTS_MAX)

    def unseen_s(self) -> float:
        """For how long no watched node has shown the job."""
        return asyncio.get_running_loop().time() - self._seen_s

    def story_over(self, job: JobSnapshot) -> bool:
        """Whether the story, if there is one, has been played to its end."""
        if self.stage is None or job.state == "failed":
            return True
        return self.stage.over(job.id, self.snapshots, self._away | self.gone)

    def sent(self) -> SentReport:
        """What all nodes sent since the job was asked for; a restarted node counts from its restart."""
        totals = dict.fromkeys(SentView.__struct_fields__, 0)
        for name, snapshot in self.snapshots.items():
            before, now = self.sent_before.get(name, SentView()), snapshot.node.sent
            if now.payload < before.payload or now.exchange < before.exchange:
                before = SentView()
            for key in totals:
                totals[key] += getattr(now, key) - getattr(before, key)
        return SentReport(**totals)

    def frame(self) -> Frame:
        """All that the views show, as of now."""
        scenario = self.request.scenario
        page = f", page {self._page.address}" if self._page and self._page.address else ""
        return Frame(
            f"{self.request.task} on {scenario.name}: {len(self.names)} nodes, {self.net.kind}{page}",
            self.phase,
            self.elapsed_s(),
            self.job,
            curve_of(self.job),
            node_rows(self.names, self.snapshots, self._away, self.gone, self.job, self.watched),
            self.meter.rows(tuple((link.a, link.b) for link in scenario.links), self.net.down()),
            tuple(self.events),
            self.event_count,
        )
