"""The rows of one job: the job itself, who gave what, and, with its helpers, its round and its history."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from muster.history.point import Point
from muster.node.api.adapt_views import adapts_for
from muster.node.api.budgets import budgets
from muster.node.api.contribution_views import contributions, values
from muster.node.api.job_description import recipe_view
from muster.node.api.rows.changes import Row, Rows
from muster.node.api.rows.commit_rows import CommitRows
from muster.node.api.rows.round_rows import RoundRows
from muster.node.api.rows.schema import ContributionRow, JobRow, MarkRow, NodePlanRow, StopRow
from muster.node.api.snapshot_builder import coordinator_of, joules_of, why_of
from muster.node.core import Core
from muster.protocol.ids import NodeId

if TYPE_CHECKING:
    from muster.job.runner import JobRunner

CONTRIBUTIONS_EVERY_S = 1.0


class JobRows:
    """Remembers what is costly to compute, or must not tremble, of one job."""

    def __init__(self, core: Core, runner: JobRunner, names: Callable[[NodeId], str]) -> None:
        self._core, self.runner, self._names = core, runner, names
        self.id = runner.view.id.hex()
        self._rounds = RoundRows(core, runner, names)
        self._history = CommitRows(runner, names)
        self._given: tuple[Any, float, Rows] = (None, float("-inf"), {})
        self._began_t: float | None = None

    def over(self) -> bool:
        return self.runner.finished() is not None

    def plans(self) -> dict[NodeId, NodePlanRow]:
        """Who is to do what in the round in progress."""
        return self._rounds.plans()

    def look(self, now_s: float, tables: dict[str, Rows], commits: Rows, marks: Rows) -> None:
        """Put the rows of this job into `tables`, and changed ones into `commits` and `marks`."""
        head = self.runner.head()
        tables["jobs"][self.id] = self._job(now_s, head)
        if (row := self._rounds.row(now_s, head)) is not None:
            tables["rounds"][self.id] = row
        tables["contributions"].update(self._contributions(now_s, head))
        self._history.look(self._began_t, commits, marks)

    def mark(self, point: Point, kind: str, nodes: list[str], text: str) -> MarkRow:
        """One at a commit, whose text the names of `nodes` end."""
        began_t, what = self._began_t, f"{text} {', '.join(nodes)}"
        t = round(began_t + point.age_s, 1) if began_t is not None else 0.0
        id_ = f"{kind}-{point.id.hex()[:16]}"
        return MarkRow(id_, kind, t, self.id, round(point.age_s, 2), list(nodes), what)

    def _job(self, now_s: float, head: Point | None) -> Row:
        core, runner, view = self._core, self.runner, self.runner.view
        figures = view.figures(head.id) if head else None
        measured = head
        while figures is None and measured is not None and measured.parents:
            measured = view.graph.points[measured.parents[0]]
            figures = view.figures(measured.id)
        leader = coordinator_of(core, runner, head)
        recipe, stop = view.job.recipe, view.job.stop
        row = JobRow(
            id=self.id,
            task=view.job.task,
            asker=self._names(view.asker),
            adapts_for=adapts_for(core, view),
            state="failed" if runner.error and view.asker == core.node else runner.state(),
            why=why_of(core, runner, head),
            round=head.round if head else 0,
            head=head.id.hex() if head else "",
            heads=[h.id.hex() for h in runner.models.known_heads()],
            coordinator=self._names(leader) if leader else None,
            metrics={metric.name: metric.best for metric in view.job.metrics},
            figures=figures.values(view.job.metrics) if figures else {},
            measured_examples=figures.examples if figures else 0,
            began_t=self._began(now_s, head),
            age_s=round(head.age_s, 2) if head else 0.0,
            spent_bytes=sum(s.bytes for s in head.spent) if head else 0,
            budgets=budgets(core, runner, head, round(head.age_s, 2) if head else 0.0),
            joules=joules_of(head),
            model_bytes=runner.model_bytes(),
            stop=StopRow(
                stop.rounds,
                stop.target.value if stop.target else None,
                stop.target.metric if stop.target else None,
                stop.stale,
                stop.seconds,
                stop.bytes,
                stop.bytes_node,
                stop.joules,
                stop.joules_node,
            ),
            recipe=recipe_view(recipe),
            values=values(runner, head),
            waits=runner.waits(),
            error=runner.error,
        )
        built: Row = msgspec.to_builtins(row)
        return built

    def _began(self, now_s: float, head: Point | None) -> float | None:
        """By the job's age; a merge may make it jump, a second more or less is no news."""
        if head is None:
            return None
        began_t = round(now_s - self.runner.commits.age_s(head), 1)
        if self._began_t is None or abs(began_t - self._began_t) > 1.0:
            self._began_t = began_t
        return self._began_t

    def _contributions(self, now_s: float, head: Point | None) -> Rows:
        view = self.runner.view
        state = (head.id if head else b"", len(view.updates), len(view.offers), len(view.contributions))
        if state == self._given[0] or now_s - self._given[1] < CONTRIBUTIONS_EVERY_S:
            return self._given[2]
        rows: Rows = {}
        for c in contributions(self._core, self.runner, head):
            node = self._names(bytes.fromhex(c.id))
            row = ContributionRow(
                id=f"{self.id}/{node}",
                job=self.id,
                node=node,
                samples=c.samples,
                steps=c.steps,
                examples=c.examples,
                counted=c.updates_counted,
                stood_in=c.stood_in,
                waiting=c.updates_waiting,
                late=c.updates_late,
                refused=c.updates_refused,
                reasons=c.refused_why,
                share=round(c.share, 4),
                sent_bytes=c.sent_bytes,
                received_bytes=c.received_bytes,
                joules=c.joules,
                value=c.value,
                value_share=c.value_share,
            )
            rows[row.id] = msgspec.to_builtins(row)
        self._given = (state, now_s, rows)
        return rows
