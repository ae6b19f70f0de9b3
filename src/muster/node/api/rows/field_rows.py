"""Rows of models in use: of this node's and of those that others published."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from muster.node.api.field_view import FieldView, ServerView
from muster.node.api.rows.changes import Rows, brief
from muster.node.api.rows.schema import FieldRow, ServerRow
from muster.protocol.ids import NodeId


def field_rows(views: Iterable[FieldView], names: Callable[[NodeId], str], now_s: float) -> Rows:
    """By "node/task". `now_s`: loop time."""
    rows: Rows = {}
    for view in views:
        node = names(bytes.fromhex(view.id))
        row = FieldRow(
            node=node,
            task=view.task,
            version=view.version,
            commit=view.commit or None,
            reason=view.reason,
            since_t=None if view.used_s is None else round(now_s - view.used_s),
            former=view.former,
            live_labels=view.live_labels,
            live_right=view.live_right,
            held_labels=view.held_labels,
            wins=view.wins,
            losses=view.losses,
            epoch=view.epoch,
            labels=view.labels,
            labels_wanted=view.labels_wanted,
            need=view.need,
            alike=view.alike,
            waits=view.waits,
            job=view.job,
            server=_server(view.server),
        )
        rows[f"{node}/{view.task}"] = msgspec.to_builtins(row)
    return rows


def _server(server: ServerView | None) -> ServerRow | None:
    if server is None:
        return None
    return ServerRow(
        server.url, server.requests, server.failures, server.refused, brief(server.rps), server.p99_ms,
        round(server.memory_mb), server.kept, server.fault,
    )  # fmt: skip
