"""A node's state as tables of rows, in pieces: first the whole, then what changed since.

A `Watcher` is asked again and again what changed since it was asked last.  It compares values; nothing in
the node knows of it, and a reader that asks rarely misses nothing but steps in between.  Instants (`..._t`)
are on the node's loop clock; whoever shows them shifts them to a clock of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from muster.node.api.field_view import FieldView
from muster.node.api.rows.changes import Row, Rows, absorb
from muster.node.api.rows.field_rows import field_rows
from muster.node.api.rows.job_rows import JobRows
from muster.node.api.rows.link_rows import LinkRows
from muster.node.api.rows.node_rows import Names, node_rows
from muster.node.api.rows.use_marks import UseMarks
from muster.node.core import Core
from muster.protocol.ids import NodeId

LOOK_BUSY_S, LOOK_IDLE_S = 0.25, 1.0
FACTS_EVERY_S = 10.0
KEEPALIVE_S = 1.0
TABLES_COMPARED = (
    "nodes",
    "links",
    "jobs",
    "rounds",
    "contributions",
    "field",
)  # commits and marks only grow


class Watcher:
    """Remembers what one reader was sent. `own`: version, home, tasks ... of this node, rarely asked;
    `models`: those in use, here and elsewhere."""

    def __init__(
        self, core: Core, own: Callable[[], Row], models: Callable[[], list[FieldView]] = list
    ) -> None:
        self._core, self._own, self._models = core, own, models
        self.names = Names(core)
        self._sent: dict[str, dict[str, Row]] = {table: {} for table in TABLES_COMPARED}
        self._jobs: dict[bytes, JobRows] = {}
        self._uses = UseMarks(core.field, self.names)
        self._event = 0
        self._facts: Row = {}
        self._facts_s = float("-inf")
        self._links = LinkRows(core, self.names)

    def look(self, now_s: float) -> Row:
        """What changed: `now_s`, `head` (about the view itself), tables of rows, `log` lines."""
        if now_s - self._facts_s >= FACTS_EVERY_S:
            self._facts, self._facts_s = self._own(), now_s
        focus = self._focus()
        found: Row = {"now_s": now_s, "head": self._head(focus)}
        runner, plans = (focus.runner, focus.plans()) if focus else (None, {})
        tables: dict[str, Rows] = {
            "nodes": node_rows(self._core, self.names, self._facts, runner, plans, self._job_of),
            "links": self._links.rows(now_s),
            "jobs": {},
            "rounds": {},
            "contributions": {},
            "field": field_rows(self._models(), self.names, now_s),
        }
        commits: Rows = {}
        marks: Rows = {}
        for job in self._jobs.values():
            try:
                job.look(now_s, tables, commits, marks)
            except Exception as error:  # a fault in one job hides no other
                name, its_id = f"showing job {job.id[:8]}", job.runner.view.id
                self._core.supervisor.fault(name, error, job=its_id, first_only=True)
        self._uses.look(self._jobs, marks)
        for table, rows in tables.items():
            sent = self._sent[table]
            gone: Rows = {key: None for key in sent if key not in rows}
            if changed := absorb(sent, {**rows, **gone}):
                found[table] = changed
        if commits:
            found["commits"] = commits
        if marks:
            found["marks"] = marks
        if lines := self._lines(now_s):
            found["log"] = lines
        return found

    def _head(self, focus: JobRows | None) -> Row:
        return {
            "view": self.names(self._core.node),
            "version": self._facts.get("version", ""),
            "tasks": self._facts.get("installed", []),
            "job": focus.id if focus else None,
        }

    def _focus(self) -> JobRows | None:
        """The job to show first: the newest that runs, else the newest."""
        runners = self._core.jobs.runners
        if any(runners.get(job) is not rows.runner for job, rows in self._jobs.items()):
            self._jobs = {j: rows for j, rows in self._jobs.items() if runners.get(j) is rows.runner}
        for job, runner in runners.items():
            if job not in self._jobs:
                self._jobs[job] = JobRows(self._core, runner, self.names)
        if list(self._jobs) != list(runners):  # an old one was loaded again
            self._jobs = {job: self._jobs[job] for job in runners}
        jobs = list(self._jobs.values())
        running = [job for job in jobs if not job.over()]
        return (running or jobs or [None])[-1]  # type: ignore[list-item]

    def _job_of(self, node: NodeId, prefix: bytes) -> str | None:
        if node == self._core.node:
            working = [j.id for j in self._jobs.values() if j.runner.participant and not j.over()]
            return working[-1] if working else None
        return next((rows.id for job, rows in self._jobs.items() if prefix and job.startswith(prefix)), None)

    def _lines(self, now_s: float) -> list[Row]:
        """New events as lines of the log, without the numbers that the feed gives them."""
        log = self._core.log
        lines = []
        wall_s = log.wall_clock()
        for event in log.since(self._event):
            self._event = event.number
            teller = event.node or self._core.name
            own = event.kind in ("offer", "share", "training", "update") and not event.text.startswith(teller)
            lines.append(
                {
                    "t": round(now_s - (wall_s - event.time_s), 2),
                    "kind": event.kind,
                    "text": f"{teller} {event.text}" if own else event.text,
                    "node": event.node or None,
                    "job": event.job or None,
                }
            )
        return lines


async def watch(
    core: Core, own: Callable[[], Row], models: Callable[[], list[FieldView]] = list
) -> AsyncIterator[Row]:
    """Looks, for ever; a look without changes is sent only now and then, to say that the node is there."""
    watcher = Watcher(core, own, models)
    loop = asyncio.get_running_loop()
    said_s = float("-inf")
    head: Row = {}
    while True:
        now_s = loop.time()
        changes = watcher.look(now_s)
        if len(changes) > 2 or changes["head"] != head or now_s - said_s >= KEEPALIVE_S:
            said_s, head = now_s, changes["head"]
            yield {"event": changes}
        news = core.log.news
        await asyncio.sleep(LOOK_BUSY_S)
        if not core.busy():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_IDLE_S - LOOK_BUSY_S):
                    await news.wait()
