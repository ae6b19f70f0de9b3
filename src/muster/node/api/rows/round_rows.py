"""The row of a job's round in progress: who does what, how far it is, and when it is expected to end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import msgspec

from muster.history.point import Point
from muster.network.sync.heartbeat import STATES
from muster.node.api.rows.changes import Row
from muster.node.api.rows.schema import NodePlanRow, Phase, RoundPart, RoundRow, StandInPart
from muster.node.core import Core
from muster.protocol.ids import NodeId
from muster.protocol.records import Plan

if TYPE_CHECKING:
    from muster.job.runner import JobRunner
    from muster.job.view import KnownPlan

PHASES: dict[str, Phase] = {"receiving": "receive", "training": "train", "sending": "send"}


class RoundRows:
    """Remembers when the plan in force began, and what was expected of each node."""

    def __init__(self, core: Core, runner: JobRunner, names: Callable[[NodeId], str]) -> None:
        self._core, self._runner, self._names = core, runner, names
        self._id = runner.view.id.hex()
        self._begun: tuple[bytes, float] = (b"", 0.0)  # the plan in force, since when
        self._expected: dict[NodeId, tuple[str, float, float | None]] = {}

    def _open_plan(self, head: Point | None) -> KnownPlan | None:
        if head is None or self._runner.finished() is not None:
            return None
        return next(iter(self._runner.view.plans.get(head.id, {}).values()), None)

    def plans(self) -> dict[NodeId, NodePlanRow]:
        """Who is to do what in the round in progress."""
        plan = self._open_plan(self._runner.head())
        if plan is None:
            return {}
        known = self._begun[0] == plan.id
        deadline_t = round(self._begun[1] + plan.record.deadline_s, 1) if known else None
        return {
            a.node: NodePlanRow(plan.record.round, a.steps, a.codec, deadline_t)
            for a in plan.record.assignments
        }

    def row(self, now_s: float, head: Point | None) -> Row | None:
        """None between rounds."""
        plan = self._open_plan(head)
        if plan is None or head is None:
            return None
        if self._begun[0] != plan.id:
            age_s = max(0.0, self._runner.commits.age_s(head) - head.age_s)
            self._begun = (plan.id, round(now_s - age_s, 1))
            self._expected = {}
        record = plan.record
        made = {
            (k.node, u.record.data) for k, u in self._runner.view.updates.items() if u.record.base == head.id
        }
        arrived = {a.node for a in record.assignments if (a.node, a.data) in made}
        parts: dict[str, RoundPart] = {}
        for a in record.assignments:
            phase, progress = self._phase(a.node, record.round, a.node in arrived)
            expected_t = self._expect(now_s, a.node, a.steps, phase, progress)
            parts[self._names(a.node)] = RoundPart(phase, progress, a.steps, a.codec, expected_t)
        late = [p.expected_t for p in parts.values() if p.phase != "in" and p.expected_t is not None]
        row = RoundRow(
            job=self._id,
            round=record.round,
            parent=record.parent.hex(),
            coordinator=self._names(plan.author),
            begun_t=self._begun[1],
            deadline_t=round(self._begun[1] + record.deadline_s, 1),
            expected_t=max(late, default=None),
            arrived=sum(p.phase == "in" for p in parts.values()),
            why=record.why,
            nodes=parts,
            stand_ins=self._stand_ins(record, made),
        )
        built: Row = msgspec.to_builtins(row)
        return built

    def _stand_ins(
        self, plan: Plan, made: Collection[tuple[NodeId, tuple[NodeId, ...]]]
    ) -> dict[str, StandInPart]:
        """By the node that misses the round. A node trains the first that is lacking once its own part is
        in."""
        found: dict[str, StandInPart] = {}
        busy = {a.node for a in plan.assignments if (a.node, a.data) not in made}
        for a in plan.stand_ins:
            done = (a.node, a.data) in made
            phase: Phase = "wait"
            progress = 0.0
            if done or a.node not in busy:
                phase, progress = self._phase(a.node, plan.round, done)
            busy |= set() if done else {a.node}
            part = StandInPart(self._names(a.node), phase, progress, a.steps)
            found |= {self._names(node): part for node in a.data}
        return found

    def _phase(self, node: NodeId, round_: int, arrived: bool) -> tuple[Phase, float]:
        if arrived:
            return "in", 1.0
        core = self._core
        if node == core.node:
            return PHASES.get(core.status.state, "wait"), round(core.status.progress, 2)
        heard = core.presence.table.get(node[:8])
        if heard is None:
            return "wait", 0.0
        heartbeat = heard.heartbeat
        if heartbeat.round != round_ or heartbeat.job != self._runner.view.id[:4]:
            return "wait", 0.0
        return PHASES.get(STATES[heartbeat.state], "wait"), heartbeat.progress / 100

    def _expect(self, now_s: float, node: NodeId, steps: int, phase: str, progress: float) -> float | None:
        """When its steps will be done, by the speed that it offered; computed when its progress changes."""
        known = self._expected.get(node)
        if known is not None and known[:2] == (phase, progress):
            return known[2]
        offer = self._runner.view.offers.get(node)
        if offer is None or phase == "in":
            expected = None
        elif phase == "send":
            expected = known[2] if known else None
        else:
            left = 1 - progress if phase == "train" else 1.0
            expected = round(now_s + left * steps * offer.step_s, 1)
        self._expected[node] = (phase, progress, expected)
        return expected
