"""One job as rows that change: the job, its round in progress, who gave what, and its history.

Commits never change but for what was measured of them and whether they are held here, so each look visits
the new ones, the newest ones, and a few of the others in turn: its cost does not grow with the history.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from muster.history.graph import Point
from muster.network.sync.presence import STATES
from muster.node.api.contribution_rows import checked, contributions, values
from muster.node.api.snapshot_builder import commit_view, coordinator_of, why_of
from muster.node.core import Core
from muster.protocol.records import Commit, CommitId, NodeId

if TYPE_CHECKING:
    from muster.job.runner import JobRunner
    from muster.job.view import KnownPlan

Row: TypeAlias = dict[str, Any]

COMMITS_MAX = 5000  # of a job; the newest
FRESH_COMMITS = 48  # looked at each time
TURN_COMMITS = 16  # of the others, in turn
NAMES_MAX = 16  # in a commit's row
CONTRIBUTIONS_EVERY_S = 1.0
PHASES = {"receiving": "receive", "training": "train", "sending": "send"}


class JobWatch:
    """One reader's memory of one job."""

    def __init__(self, core: Core, runner: JobRunner, names: Callable[[NodeId], str]) -> None:
        self._core, self.runner, self._names = core, runner, names
        self.id = runner.view.id.hex()
        self._commits: list[CommitId] = []
        self._said: dict[CommitId, tuple[Any, ...]] = {}  # what may change of a commit
        self._turn = 0
        self._begun: tuple[bytes, float] = (b"", 0.0)  # the plan that runs, since when
        self._expected: dict[NodeId, tuple[str, float, float | None]] = {}
        self._given: tuple[Any, float, dict[str, Row | None]] = (None, float("-inf"), {})
        self._began_t: float | None = None

    def over(self) -> bool:
        return self.runner.finished() is not None

    def look(
        self,
        now_s: float,
        tables: dict[str, dict[str, Row | None]],
        commits: dict[str, Row | None],
        marks: dict[str, Row | None],
    ) -> None:
        """Put the rows of this job into `tables`, and changed ones into `commits` and `marks`."""
        head = self.runner.head()
        tables["jobs"][self.id] = self._job(now_s, head)
        if (row := self._round(now_s, head)) is not None:
            tables["rounds"][self.id] = row
        tables["contributions"].update(self._contributions(now_s, head))
        self._history(commits, marks)

    # ---- the job ------------------------------------------------------------------------------------

    def _job(self, now_s: float, head: Point | None) -> Row:
        core, runner, view = self._core, self.runner, self.runner.view
        figures = view.figures(head.id) if head else None
        measured = head
        while figures is None and measured is not None and measured.parents:
            measured = view.graph.points[measured.parents[0]]
            figures = view.figures(measured.id)
        leader = coordinator_of(core, runner, head)
        recipe, stop, layout = view.job.recipe, view.job.stop, runner.models.layout
        return {
            "id": self.id,
            "task": view.job.task,
            "asker": self._names(view.asker),
            "state": "failed" if runner.error and view.asker == core.node else runner.state(),
            "why": why_of(core, runner, head),
            "round": head.round if head else 0,
            "head": head.id.hex() if head else "",
            "heads": [h.id.hex() for h in runner.models.known_heads()],
            "coordinator": self._names(leader) if leader else None,
            "accuracy": figures.accuracy if figures else None,
            "loss": figures.loss if figures else None,
            "measured_examples": figures.examples if figures else 0,
            "began_t": self._began(now_s, head),
            "age_s": round(head.age_s, 2) if head else 0.0,
            "spent_bytes": sum(s.bytes for s in head.spent) if head else 0,
            "model_bytes": layout.blob_bytes if layout else 0,
            "stop": {
                "rounds": stop.rounds,
                "target": stop.target,
                "seconds": stop.seconds,
                "bytes": stop.bytes,
            },
            "recipe": {name: getattr(recipe, name) for name in recipe.__struct_fields__},
            "values": msgspec.to_builtins(values(runner, head)),
            "error": runner.error,
        }

    def _began(self, now_s: float, head: Point | None) -> float | None:
        """By the job's age; a merge may make it jump, a second more or less is no news."""
        if head is None:
            return None
        began_t = round(now_s - self.runner.coordinator.commits.age_s(head), 1)
        if self._began_t is None or abs(began_t - self._began_t) > 1.0:
            self._began_t = began_t
        return self._began_t

    # ---- the round ----------------------------------------------------------------------------------

    def _open_plan(self, head: Point | None) -> KnownPlan | None:
        if head is None or self.over():
            return None
        return next(iter(self.runner.view.plans.get(head.id, {}).values()), None)

    def parts(self) -> dict[NodeId, Row]:
        """Who is to do what in the round in progress."""
        plan = self._open_plan(self.runner.head())
        if plan is None:
            return {}
        known = self._begun[0] == plan.id
        deadline_t = round(self._begun[1] + plan.record.deadline_s, 1) if known else None
        return {
            a.node: {"round": plan.record.round, "steps": a.steps, "codec": a.codec, "deadline_t": deadline_t}
            for a in plan.record.assignments
        }

    def _round(self, now_s: float, head: Point | None) -> Row | None:
        plan = self._open_plan(head)
        if plan is None or head is None:
            return None
        if self._begun[0] != plan.id:
            age_s = max(0.0, self.runner.coordinator.commits.age_s(head) - head.age_s)
            self._begun = (plan.id, round(now_s - age_s, 1))
            self._expected = {}
        record = plan.record
        arrived = {k.node for k, u in self.runner.view.updates.items() if u.record.base == head.id}
        nodes: dict[str, Row] = {}
        for a in record.assignments:
            phase, progress = self._phase(a.node, record.round, a.node in arrived)
            nodes[self._names(a.node)] = {
                "phase": phase,
                "progress": progress,
                "steps": a.steps,
                "codec": a.codec,
                "expected_t": self._expect(now_s, a.node, a.steps, phase, progress),
            }
        late = [n["expected_t"] for n in nodes.values() if n["phase"] != "in" and n["expected_t"] is not None]
        return {
            "job": self.id,
            "round": record.round,
            "parent": record.parent.hex(),
            "coordinator": self._names(plan.author),
            "begun_t": self._begun[1],
            "deadline_t": round(self._begun[1] + record.deadline_s, 1),
            "expected_t": max(late, default=None),
            "arrived": sum(n["phase"] == "in" for n in nodes.values()),
            "why": record.why,
            "nodes": nodes,
        }

    def _phase(self, node: NodeId, round_: int, arrived: bool) -> tuple[str, float]:
        if arrived:
            return "in", 1.0
        core = self._core
        if node == core.node:
            return PHASES.get(core.state, "wait"), round(core.progress, 2)
        heard = core.presence.table.get(node[:8])
        if heard is None or heard.heartbeat.round != round_ or heard.heartbeat.job != self.runner.view.id[:4]:
            return "wait", 0.0
        return PHASES.get(STATES[heard.heartbeat.state], "wait"), heard.heartbeat.progress / 100

    def _expect(self, now_s: float, node: NodeId, steps: int, phase: str, progress: float) -> float | None:
        """When its steps will be done, by the speed that it offered; made anew when its word changes."""
        known = self._expected.get(node)
        if known is not None and known[:2] == (phase, progress):
            return known[2]
        offer = self.runner.view.offers.get(node)
        if offer is None or phase == "in":
            expected = None
        elif phase == "send":
            expected = known[2] if known else None
        else:
            left = 1 - progress if phase == "train" else 1.0
            expected = round(now_s + left * steps * offer.step_s, 1)
        self._expected[node] = (phase, progress, expected)
        return expected

    # ---- contributions ------------------------------------------------------------------------------

    def _contributions(self, now_s: float, head: Point | None) -> dict[str, Row | None]:
        view = self.runner.view
        state = (head.id if head else b"", len(view.updates), len(view.offers), len(view.contributions))
        if state == self._given[0] or now_s - self._given[1] < CONTRIBUTIONS_EVERY_S:
            return self._given[2]
        rows: dict[str, Row | None] = {}
        for c in contributions(self._core, self.runner, head):
            node = self._names(bytes.fromhex(c.id))
            rows[f"{self.id}/{node}"] = {
                "id": f"{self.id}/{node}",
                "job": self.id,
                "node": node,
                "samples": c.samples,
                "steps": c.steps,
                "examples": c.examples,
                "counted": c.updates_counted,
                "waiting": c.updates_waiting,
                "late": c.updates_late,
                "refused": c.updates_refused,
                "reasons": c.refused_why,
                "share": round(c.share, 4),
                "sent_bytes": c.sent_bytes,
                "received_bytes": c.received_bytes,
                "value": c.value,
                "value_share": c.value_share,
            }
        self._given = (state, now_s, rows)
        return rows

    # ---- the history --------------------------------------------------------------------------------

    def _history(self, commits: dict[str, Row | None], marks: dict[str, Row | None]) -> None:
        points = self.runner.view.graph.points
        fresh = list(islice(points.values(), len(self._commits), None))
        for point in fresh:
            if (mark := self._mark(point)) is not None:
                marks[mark["id"]] = mark
        self._commits += [point.id for point in fresh]
        first = max(0, len(self._commits) - COMMITS_MAX)
        newest = self._commits[max(first, len(self._commits) - max(FRESH_COMMITS, len(fresh))) :]
        older = self._commits[first : len(self._commits) - len(newest)]
        if older:
            self._turn %= len(older)
            newest = newest + older[self._turn : self._turn + TURN_COMMITS]
            self._turn += TURN_COMMITS
        for commit in newest:
            self._commit(points[commit], commits)

    def _commit(self, point: Point, commits: dict[str, Row | None]) -> None:
        figures, held = self.runner.view.figures(point.id), self.runner.models.held(point.id)
        changing: Row = {
            "accuracy": figures.accuracy if figures else None,
            "loss": figures.loss if figures else None,
            "held": held,
            **dict(zip(("predicted", "drop"), checked(self.runner, point), strict=True)),
        }
        said = tuple(changing.values())
        known = self._said.get(point.id)
        if said == known:
            return
        self._said[point.id] = said
        commits[point.id.hex()] = changing if known is not None else {**self._fixed(point), **changing}

    def _fixed(self, point: Point) -> Row:
        record = point.record
        return {
            "id": point.id.hex(),
            "job": self.id,
            "parents": [p.hex() for p in point.parents],
            "round": point.round,
            "merge": point.is_merge,
            "coordinator": self._names(point.author) if point.author else None,
            "counted": len(point.folded),
            "nodes": [self._names(f.node) for f in point.folded[:NAMES_MAX]],
            "age_s": round(point.age_s, 2),
            "bytes": commit_view(self._core, self.runner, point).bytes,
            "bytes_total": sum(s.bytes for s in point.spent),
            "discarded": len(record.discarded) if isinstance(record, Commit) else 0,
        }

    def _mark(self, point: Point) -> Row | None:
        """A merge, or a commit by another coordinator than before."""
        points = self.runner.view.graph.points
        before = points[point.parents[0]] if point.parents else None
        while before is not None and before.is_merge:
            before = points[before.parents[0]]
        if point.is_merge:
            kind, text, nodes = "merge", f"two histories meet in round {point.round}", []
        elif before is not None and before.author != point.author:
            kind, nodes = "handover", [self._names(point.author)]
            text = f"{nodes[0]} coordinates from round {point.round} on"
        else:
            return None
        began_t = self._began_t
        return {
            "id": f"{point.id.hex()[:16]}",
            "kind": kind,
            "t": round(began_t + point.age_s, 1) if began_t is not None else 0.0,
            "job": self.id,
            "age_s": round(point.age_s, 2),
            "nodes": nodes,
            "text": text,
        }
