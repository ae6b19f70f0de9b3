"""Marks on a job's curves: which of its models went into use where, and which were taken back.

They stand at the model's own commit: it goes into use after the job's end, where the curves are over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from muster.history.graph import Graph
from muster.history.point import Point
from muster.job.adapting.table import FieldTable
from muster.node.api.rows.changes import Rows
from muster.node.api.rows.job_rows import JobRows
from muster.protocol.ids import CommitId, JobId, NodeId
from muster.protocol.records import Use

TAKEN_BACK = ("returned", "rolled back")
NAMES_MAX = 16  # of a mark


class UseMarks:
    """Remembers what one reader was sent."""

    def __init__(self, field: FieldTable, names: Callable[[NodeId], str]) -> None:
        self._field, self._names = field, names
        self._nodes: dict[tuple[CommitId, str], list[str]] = {}  # by commit and kind, in the order heard of

    def look(self, jobs: Mapping[JobId, JobRows], marks: Rows) -> None:
        """Put marks into `marks` that are new, or have one more node, of the newest use of each node."""
        for task in sorted(self._field.tasks()):
            for node, use in self._field.uses(task).items():
                back = use.reason in TAKEN_BACK
                commit, kind = (use.former, "unuse") if back else (use.commit, "use")
                for rows in jobs.values():
                    point = _of_job(rows, use, commit)
                    if point is not None and self._is_news(point.id, kind, self._names(node)):
                        mark = rows.mark(point, kind, self._nodes[point.id, kind], _text(point, kind))
                        marks[mark.id] = msgspec.to_builtins(mark)

    def _is_news(self, commit: CommitId, kind: str, name: str) -> bool:
        names = self._nodes.setdefault((commit, kind), [])
        news = name not in names and len(names) < NAMES_MAX
        if news:
            names.append(name)
        return news


def _of_job(rows: JobRows, use: Use, commit: CommitId) -> Point | None:
    """The point of a job's history that a use is about; of a model that was fine-tuned from it, the head."""
    graph: Graph = rows.runner.view.graph
    if commit:
        return graph.points.get(commit)
    return rows.runner.head() if use.origin == rows.runner.view.id and use.reason == "adopted" else None


def _text(point: Point, kind: str) -> str:
    return f"round {point.round} {'is in use on' if kind == 'use' else 'was taken out of use on'}"
