"""Marks on the page's curves: what happened to the network and to the job, and when."""

from __future__ import annotations

import msgspec

from muster.dashboard.feed import Feed
from muster.node.api.rows.changes import Rows
from muster.node.api.rows.schema import MarkRow

MARKS_MAX = 500


class Marks:
    """Adds marks to a feed and takes the oldest away."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._number = 0

    def add(
        self,
        kind: str,
        text: str,
        nodes: list[str],
        *,
        t: float | None = None,
        job: str | None = None,
        key: str = "",
    ) -> None:
        """A mark at `t` (None: now), of `job` (None: the one that is shown first)."""
        feed = self._feed
        self._number += 1
        at = feed.t() if t is None else t
        job = job or feed.header.get("job")
        known = feed.tables["jobs"].get(job) if job else None
        began_t = known.get("began_t") if known else None
        row = MarkRow(
            id=key or f"m{self._number}",
            kind=kind,
            t=at,
            job=job,
            age_s=round(at - began_t, 2) if began_t is not None else None,
            nodes=nodes,
            text=text,
        )
        marks = feed.tables["marks"]
        oldest: Rows = {next(iter(marks)): None} if len(marks) >= MARKS_MAX else {}
        feed.publish({"marks": {**oldest, row.id: msgspec.to_builtins(row)}})
