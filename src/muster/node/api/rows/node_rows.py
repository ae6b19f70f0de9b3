"""Rows of the fleet's members, and what a node says of its own process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from muster.network.sync.heartbeat import STATES
from muster.node.api.peer_views import left_view, power_view
from muster.node.api.rows.changes import Row, Rows
from muster.node.api.rows.field_rows import field_rows
from muster.node.api.rows.schema import (
    LeftRow,
    NodePlanRow,
    NodeRow,
    OfferRow,
    ResourcesRow,
    SharedRow,
    TaskRow,
)
from muster.node.api.snapshot_builder import coordinator_of, memory_bytes, own_state
from muster.node.core import Core
from muster.protocol.ids import NodeId, short
from muster.protocol.records import Offer

if TYPE_CHECKING:
    from muster.job.runner import JobRunner
    from muster.node.api.field_view import FieldView
    from muster.node.api.snapshot import TaskView


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


def node_rows(
    core: Core,
    names: Names,
    facts: Row,
    shown: JobRunner | None,
    plans: dict[NodeId, NodePlanRow],
    job_of: Callable[[NodeId, bytes], str | None],
) -> Rows:
    """Every member of the fleet by its last heartbeat, this node by its own state.

    `shown`: the job that is shown first; `plans`: who has a part in its round; `job_of`: the job of a node,
    by the beginning of its id in the heartbeat.
    """
    view = shown.view if shown else None
    leader = coordinator_of(core, shown, shown.head()) if shown else None
    near, refusing = core.link.neighbours(), view.refusing() if view else {}
    rows: Rows = {}
    for node in core.trust.members():
        me = node == core.node
        heard = None if me else core.presence.table.get(node[:8])
        heartbeat = heard.heartbeat if heard else None
        state = own_state(core) if me else STATES[heartbeat.state] if heartbeat else "unknown"
        if state == "idle" and node == leader and shown and shown.finished() is None:
            state = "coordinating"
        battery = core.battery() if me else None
        if heartbeat is not None and heartbeat.battery <= 100:
            battery = heartbeat.battery / 100
        offer = view.offers.get(node) if view else None
        key = names(node)
        row = NodeRow(
            id=key,
            name=core.trust.name(node),
            key=node.hex(),
            me=me,
            state=state,
            progress=round(core.status.progress if me else heartbeat.progress / 100 if heartbeat else 0.0, 2),
            heard_t=round(heard.at_s, 1) if heard else None,
            reachable=me or node in near or core.heard_lately(node),
            battery=None if battery is None else round(battery, 2),
            power=power_view(core.energy.power() if me else offer.power if offer else None),
            step_s=offer.step_s if offer else None,
            samples=offer.samples if offer else None,
            job=job_of(node, heartbeat.job if heartbeat else b""),
            round=heartbeat.round if heartbeat else None,
            offer=_offer(offer),
            refusal=refusing.get(node),
            plan=plans.get(node),
            resources=resources(core, facts) if me else None,
            tasks=facts.get("tasks", []) if me else [],
            health=health(core) if me else None,
            refused=core.ledger.refusals.by_author.get(node, 0),
            cut_off=core.exchange.shared.cut_off(node),
            shared=_shared(core, node),
            left=_left(core, node),
            emulated=None,
        )
        rows[key] = msgspec.to_builtins(row)
    return rows


def self_report(core: Core, facts: Row, models: Iterable[FieldView] = ()) -> Row:
    """What a node says of itself alone, for whoever looks after the whole emulation."""
    own = [view for view in models if view.me]
    return {
        "field": field_rows(own, Names(core), asyncio.get_running_loop().time()),
        "state": own_state(core),
        "progress": round(core.status.progress, 2),
        "battery": core.battery(),
        "resources": msgspec.to_builtins(resources(core, facts)),
        "tasks": facts.get("tasks", []),
        "health": health(core),
    }


def health(core: Core) -> list[str]:
    """A sentence for each of this node's loops that is not well or failed in the last ten minutes."""
    return [h.sentence() for h in core.supervisor.health() if not h.well()]


def resources(core: Core, facts: Row) -> ResourcesRow:
    """`facts`: version, home, pid, listen, began_t."""
    return ResourcesRow(
        version=facts["version"],
        began_t=facts["began_t"],
        memory_bytes=memory_bytes() // 1_000_000 * 1_000_000,  # whole MB: it trembles
        disk_bytes=core.store.used_bytes(),
        home=facts["home"],
        pid=facts["pid"],
        listen=facts["listen"],
    )


def _left(core: Core, node: NodeId) -> LeftRow | None:
    left = left_view(core, node)
    if left is None:
        return None
    until_t = None
    if node == core.node and left.available_s:
        until_t = round(core.context.now() + left.available_s)
    kept_bytes = None if left.bytes is None else left.bytes // 1000 * 1000  # it trembles
    return LeftRow(kept_bytes, None if left.joules is None else round(left.joules, 1), until_t, left.why)


def _shared(core: Core, node: NodeId) -> list[SharedRow]:
    found = []
    for job, runner in core.jobs.runners.items():
        record = runner.view.shared.get(node)
        if record is not None:
            found.append(SharedRow(job.hex(), record.kind, record.samples, record.payload.size_bytes))
    return found


def _offer(offer: Offer | None) -> OfferRow | None:
    if offer is None:
        return None
    return OfferRow(offer.samples, offer.step_s, offer.battery, offer.available_s)


def task_rows(views: Iterable[TaskView]) -> list[Row]:
    """Of a task that was not opened yet there is nothing to say."""
    opened = [view for view in views if view.version or view.error]
    rows = [TaskRow(v.name, v.version, v.samples, v.parameters, v.error) for v in opened]
    found: list[Row] = msgspec.to_builtins(rows)
    return found
