"""The rows of a job's history: its commits, and marks for merges and hand-overs.

A commit never changes but for what was measured of it and whether it is held here, so each look visits the
new ones, the newest ones, and a few of the others in turn: its cost does not grow with the history.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from muster.history.credit import others_of, own_of
from muster.history.point import Point
from muster.node.api.contribution_views import checked
from muster.node.api.rows.changes import Row, Rows
from muster.node.api.rows.schema import CommitRow, MarkRow
from muster.node.api.snapshot_builder import joules_of, size_bytes
from muster.protocol.ids import CommitId, NodeId
from muster.protocol.records import Commit

if TYPE_CHECKING:
    from muster.job.runner import JobRunner

COMMITS_MAX = 5000  # of a job; the newest
FRESH_COMMITS = 48  # looked at each time
TURN_COMMITS = 16  # of the others, in turn
NAMES_MAX = 16  # in a commit's row
CHANGING = ("figures", "held", "predicted", "drop")  # fields of a CommitRow


class CommitRows:
    """Remembers which commits one reader was sent, and with which figures."""

    def __init__(self, runner: JobRunner, names: Callable[[NodeId], str]) -> None:
        self._runner, self._names = runner, names
        self._id = runner.view.id.hex()
        self._commits: list[CommitId] = []
        self._sent: dict[CommitId, tuple[Any, ...]] = {}  # what may change of a commit
        self._turn = 0

    def look(self, began_t: float | None, commits: Rows, marks: Rows) -> None:
        """Put new and changed commits into `commits`, new marks into `marks`; `began_t`: the job's start."""
        points = self._runner.view.graph.points
        fresh = list(islice(points.values(), len(self._commits), None))
        for point in fresh:
            if (mark := self._mark(point, began_t)) is not None:
                marks[mark.id] = msgspec.to_builtins(mark)
        self._commits += [point.id for point in fresh]
        first = max(0, len(self._commits) - COMMITS_MAX)
        newest = self._commits[max(first, len(self._commits) - max(FRESH_COMMITS, len(fresh))) :]
        older = self._commits[first : len(self._commits) - len(newest)]
        if older:
            self._turn %= len(older)
            newest = newest + older[self._turn : self._turn + TURN_COMMITS]
            self._turn += TURN_COMMITS
        for commit in newest:
            if (row := self._changed(points[commit])) is not None:
                commits[commit.hex()] = row

    def _changed(self, point: Point) -> Row | None:
        """The whole row the first time, then its figures when one of them is another; else None."""
        figures = self._runner.view.figures(point.id)
        held = self._runner.models.held(point.id)
        predicted, drop = checked(self._runner, point)
        by_metric = figures.values(self._runner.view.job.metrics) if figures else {}
        changing = (by_metric, held, predicted, drop)
        known = self._sent.get(point.id)
        if changing == known:
            return None
        self._sent[point.id] = changing
        if known is not None:
            return dict(zip(CHANGING, changing, strict=True))
        record = point.record
        row = CommitRow(
            id=point.id.hex(),
            job=self._id,
            parents=[p.hex() for p in point.parents],
            round=point.round,
            merge=point.is_merge,
            coordinator=self._names(point.author) if point.author else None,
            counted=point.updates,
            nodes=[self._names(n) for n in own_of(point)[:NAMES_MAX]],
            stand_ins=[self._names(n) for n in others_of(point)[:NAMES_MAX]],
            age_s=round(point.age_s, 2),
            bytes=size_bytes(self._runner.view.graph, point),
            model_bytes=record.params_bytes if isinstance(record, Commit) else None,
            bytes_total=sum(s.bytes for s in point.spent),
            joules=joules_of(point),
            discarded=len(record.discarded) if isinstance(record, Commit) else 0,
            figures=by_metric,
            held=held,
            predicted=predicted,
            drop=drop,
        )
        built: Row = msgspec.to_builtins(row)
        return built

    def _mark(self, point: Point, began_t: float | None) -> MarkRow | None:
        """A merge, or a commit by another coordinator than before."""
        points = self._runner.view.graph.points
        before = points[point.parents[0]] if point.parents else None
        while before is not None and before.is_merge:
            before = points[before.parents[0]]
        nodes: list[str] = []
        if point.is_merge:
            kind, text = "merge", f"two histories meet in round {point.round}"
        elif before is not None and before.author != point.author:
            kind, nodes = "handover", [self._names(point.author)]
            text = f"{nodes[0]} coordinates from round {point.round} on"
        else:
            return None
        return MarkRow(
            id=point.id.hex()[:16],
            kind=kind,
            t=round(began_t + point.age_s, 1) if began_t is not None else 0.0,
            job=self._id,
            age_s=round(point.age_s, 2),
            nodes=nodes,
            text=text,
        )
