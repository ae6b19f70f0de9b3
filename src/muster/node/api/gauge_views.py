"""Reads a node's figures from its core."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from muster.node.api.gauges import JOBS_MAX, LINKS_MAX, OTHERS, Gauges, JobGauges, LinkGauges
from muster.node.api.snapshot_builder import (
    joules_of,
    memory_bytes,
    own_state,
    rate_of,
    rtt_of,
    sent_view,
    traffic_of,
)
from muster.node.core import Core
from muster.protocol.ids import short

if TYPE_CHECKING:
    from muster.job.runner import JobRunner


async def gauges(core: Core, version: str, started_s: float, home: Path) -> Gauges:
    """All of a node's figures. The event loop goes on between jobs."""
    health = core.supervisor.health()
    now_s = asyncio.get_running_loop().time()
    neighbours = core.link.neighbours()
    refusals = core.ledger.refusals
    runners = list(core.jobs.runners.values())
    over = [runner for runner in runners if runner.finished() is not None]
    chosen = ([r for r in runners if r not in over][::-1] + over[::-1])[:JOBS_MAX]
    jobs = []
    for runner in chosen:
        jobs.append(_job(core, runner))
        await asyncio.sleep(0)
    return Gauges(
        id=core.node.hex(),
        name=core.name,
        version=version,
        state=own_state(core),
        uptime_s=now_s - started_s,
        battery=core.battery(),
        memory_bytes=memory_bytes(),
        disk_bytes=core.store.used_bytes(),
        disk_limit_bytes=core.context.policy.disk_limit_bytes,
        disk_free_bytes=_free_bytes(home),
        members=len(core.trust.members()),
        reachable=sum(
            node != core.node and (node in neighbours or core.heard_lately(node))
            for node in core.trust.members()
        ),
        neighbours=len(neighbours),
        links=_links(core),
        sent=sent_view(core.exchange.traffic.total()),
        loops={state: sum(h.state == state for h in health) for state in ("well", "late", "restarting")},
        loop_faults=sum(h.faults for h in health),
        refused={
            "invalid": refusals.invalid,
            "unknown_author": refusals.unknown_author,
        },
        wrong_blobs=core.transfers.wrong_blobs,
        fetching=len(core.transfers.statuses()),
        jobs=jobs,
        jobs_left_out=len(runners) - len(chosen),
        jobs_stored=core.jobs.stored_count(),
        now_w=core.energy.now_w(),
        used_j=core.energy.used_j() if core.energy.measures else None,
    )


def _free_bytes(home: Path) -> int:
    try:
        return shutil.disk_usage(home).free
    except OSError:
        return 0


def _links(core: Core) -> list[LinkGauges]:
    found: dict[str, LinkGauges] = {}
    others = LinkGauges(OTHERS, 0, 0)
    for neighbour in sorted(core.link.neighbours().values(), key=lambda n: (n.name, n.node)):
        sent, received = traffic_of(core, neighbour.node)
        if len(found) < LINKS_MAX:
            name = neighbour.name
            name = f"{name}~{short(neighbour.node)}" if name in found or name == OTHERS else name
            rtt_s, rate_bytes_s = rtt_of(core, neighbour.node), rate_of(core, neighbour.node)
            found[name] = LinkGauges(name, sent, received, rtt_s, rate_bytes_s)
        else:
            others = LinkGauges(OTHERS, others.sent_bytes + sent, others.received_bytes + received)
    return [*found.values(), *([others] if others.sent_bytes or others.received_bytes else [])]


def _job(core: Core, runner: JobRunner) -> JobGauges:
    view, head = runner.view, runner.head()
    figures = view.figures(head.id) if head else None
    failed = runner.error is not None and view.asker == core.node
    return JobGauges(
        id=view.id.hex(),
        task=view.job.task,
        state="failed" if failed else runner.state(),
        round=head.round if head else 0,
        heads=len(runner.models.known_heads()),
        age_s=runner.commits.age_s(head) if head else 0.0,
        spent_bytes=sum(s.bytes for s in head.spent) if head else 0,
        model_bytes=runner.model_bytes(),
        participants=len(view.offers),
        refusing=len(view.refusing()),
        updates=len(head.counted) if head else 0,
        coordinating=runner.acting,
        metrics=figures.values(view.job.metrics) if figures else {},
        measured=figures.examples if figures else 0,
        joules=joules_of(head),
    )
