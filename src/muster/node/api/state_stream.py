"""A node's view as rows that change: what the page is fed with, in pieces (docs/api.md has the fields).

A `Watcher` is asked again and again what changed since it was asked last.  It compares values, it is told
nothing, so nothing in the node knows of it and one that asks rarely misses nothing but steps in between.
Instants (`..._t`) are on the node's loop clock; whoever shows them shifts them to a clock of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from muster.network.sync.presence import STATES
from muster.node.api.job_rows import JobWatch
from muster.node.api.link_rows import LinkWatch
from muster.node.api.snapshot_builder import coordinator_of, memory_bytes, own_state
from muster.node.core import Core
from muster.protocol.records import NodeId, short

Row: TypeAlias = dict[str, Any]
Changes: TypeAlias = dict[str, dict[str, Row | None]]

LOOK_BUSY_S, LOOK_IDLE_S = 0.25, 1.0
FACTS_EVERY_S = 10.0
KEEPALIVE_S = 1.0
NODE_TABLES = ("nodes", "links", "jobs", "rounds", "contributions")


class Names:
    """The page's ids of nodes: the name, and of a second node of that name more."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._ids: dict[NodeId, str] = {}
        self._taken: set[str] = set()

    def __call__(self, node: NodeId) -> str:
        found = self._ids.get(node)
        if found is None:
            name = self._core.trust.name(node)
            if not self._core.trust.knows(node):
                return name  # it may get a name yet
            found = name if name not in self._taken else f"{name}~{short(node)}"
            self._ids[node] = found
            self._taken.add(found)
        return found


class Watcher:
    """One reader's memory of what it was told. `own`: version, home, tasks ... of this node, rarely asked."""

    def __init__(self, core: Core, own: Callable[[], Row]) -> None:
        self._core, self._own = core, own
        self.names = Names(core)
        self._told: Changes = {table: {} for table in NODE_TABLES}
        self._jobs: dict[bytes, JobWatch] = {}
        self._event = 0
        self._facts: Row = {}
        self._facts_s = float("-inf")
        self._links = LinkWatch(core, self.names)

    def look(self, now_s: float) -> Row:
        """What changed: `now_s`, `head` (about the view itself), tables of rows, `log` lines."""
        if now_s - self._facts_s >= FACTS_EVERY_S:
            self._facts, self._facts_s = self._own(), now_s
        focus = self._focus(now_s)
        found: Row = {"now_s": now_s, "head": self._head(focus)}
        tables: Changes = {
            "nodes": self._nodes(now_s, focus),
            "links": self._links.rows(now_s),
            "jobs": {},
            "rounds": {},
            "contributions": {},
        }
        history: dict[str, Row | None] = {}
        marks: dict[str, Row | None] = {}
        for watch in self._jobs.values():
            watch.look(now_s, tables, history, marks)
        for table, rows in tables.items():
            if changed := self._news(table, rows):
                found[table] = changed
        if history:
            found["commits"] = history
        if marks:
            found["marks"] = marks
        if lines := self._lines(now_s):
            found["log"] = lines
        return found

    def _head(self, focus: JobWatch | None) -> Row:
        return {
            "view": self.names(self._core.node),
            "version": self._facts.get("version", ""),
            "tasks": self._facts.get("installed", []),
            "job": focus.id if focus else None,
        }

    def _focus(self, now_s: float) -> JobWatch | None:
        """The job to show first: the newest that runs, else the newest."""
        for job, runner in self._core.jobs.runners.items():
            if job not in self._jobs:
                self._jobs[job] = JobWatch(self._core, runner, self.names)
        watches = list(self._jobs.values())
        running = [watch for watch in watches if not watch.over()]
        return (running or watches or [None])[-1]  # type: ignore[list-item]

    def _news(self, table: str, rows: dict[str, Row | None]) -> dict[str, Row | None]:
        told = self._told[table]
        changed: dict[str, Row | None] = {}
        for key, row in rows.items():
            old = told.get(key)
            if row == old:
                continue
            if row is not None and old is not None:
                changed[key] = {k: v for k, v in row.items() if k not in old or old[k] != v}
            else:
                changed[key] = row
            told[key] = row
        for key in [k for k in told if k not in rows]:
            del told[key]
            changed[key] = None
        return changed

    # ---- nodes --------------------------------------------------------------------------------------

    def _nodes(self, now_s: float, focus: JobWatch | None) -> dict[str, Row | None]:
        core = self._core
        view = focus.runner.view if focus else None
        head = focus.runner.head() if focus else None
        leader = coordinator_of(core, focus.runner, head) if focus else None
        near = core.link.neighbours()
        parts = focus.parts() if focus else {}
        rows: dict[str, Row | None] = {}
        for node, known in core.trust.members().items():
            me = node == core.node
            heard = None if me else core.presence.table.get(node[:8])
            heartbeat = heard.heartbeat if heard else None
            age_s = core.presence.age_s(node)
            state = own_state(core) if me else STATES[heartbeat.state] if heartbeat else "unknown"
            if state == "idle" and node == leader and focus and not focus.over():
                state = "coordinating"
            battery = core.battery() if me else None
            if heartbeat is not None and heartbeat.battery <= 100:
                battery = heartbeat.battery / 100
            offer = view.offers.get(node) if view else None
            lively = age_s is not None and age_s < 3 * core.heartbeat_period_s(node)
            key = self.names(node)
            rows[key] = {
                "id": key,
                "name": known.name,
                "key": node.hex(),
                "me": me,
                "state": state,
                "progress": round(core.progress if me else heartbeat.progress / 100 if heartbeat else 0.0, 2),
                "heard_t": round(heard.at_s, 1) if heard else None,
                "reachable": me or node in near or lively,
                "battery": None if battery is None else round(battery, 2),
                "step_s": offer.step_s if offer else None,
                "samples": offer.samples if offer else None,
                "job": self._job_of(node, heartbeat.job if heartbeat else b"", me),
                "round": heartbeat.round if heartbeat else None,
                "offer": _offer(offer),
                "refusal": view.refusals.get(node) if view else None,
                "plan": parts.get(node),
                "resources": resources(core, self._facts) if me else None,
                "tasks": self._facts.get("tasks", []) if me else [],
                "emulated": None,
            }
        return rows

    def _job_of(self, node: NodeId, prefix: bytes, me: bool) -> str | None:
        if me:
            working = [w.id for w in self._jobs.values() if w.runner.participant and not w.over()]
            return working[-1] if working else None
        return next((w.id for job, w in self._jobs.items() if prefix and job.startswith(prefix)), None)

    # ---- events -------------------------------------------------------------------------------------

    def _lines(self, now_s: float) -> list[Row]:
        log = self._core.log
        lines = []
        wall_s = log.wall_clock()
        for event in log.since(self._event):
            self._event = event.number
            teller = event.node or self._core.name
            own = event.kind in ("offer", "training", "update") and not event.text.startswith(teller)
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


async def watch(core: Core, own: Callable[[], Row]) -> Any:
    """Looks, for ever; one without changes only now and then, to say that the node is there."""
    watcher = Watcher(core, own)
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


def self_report(core: Core, own: Row) -> Row:
    """What a node says of itself alone, for whoever looks after the whole emulation."""
    return {
        "state": own_state(core),
        "progress": round(core.progress, 2),
        "battery": core.battery(),
        "resources": resources(core, own),
        "tasks": own.get("tasks", []),
    }


def resources(core: Core, own: Row) -> Row:
    return {
        **{k: own.get(k) for k in ("version", "home", "pid", "listen", "began_t")},
        "memory_bytes": memory_bytes() // 1_000_000 * 1_000_000,  # whole MB: it trembles
        "disk_bytes": core.store.used_bytes(),
    }


def _offer(offer: Any) -> Row | None:
    if offer is None:
        return None
    names = ("samples", "step_s", "battery", "available_s")
    return {name: getattr(offer, name) for name in names}


def task_rows(views: Any) -> list[Row]:
    """TaskViews as the page says them; of one that was not opened yet there is nothing to say."""
    rows = [msgspec.to_builtins(view) for view in views if view.version or view.error]
    return [{k: row[k] for k in ("name", "version", "samples", "parameters", "error")} for row in rows]
