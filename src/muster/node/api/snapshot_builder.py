"""Builds the snapshot from a node's core. It only reads: nothing changes here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from muster.history.credit import others_of, own_of
from muster.history.graph import Graph
from muster.history.point import Point
from muster.network.transport.link import Neighbour
from muster.network.transport.traffic_counters import BytesSent
from muster.node.api.adapt_views import adapts_for
from muster.node.api.budgets import budgets
from muster.node.api.contribution_views import checked, contributions, values
from muster.node.api.job_description import recipe_view
from muster.node.api.peer_views import left_view, peers, power_view
from muster.node.api.snapshot import (
    CommitView,
    EnergyView,
    JobSnapshot,
    LoopView,
    MetricView,
    NeighbourView,
    PlanView,
    SelfView,
    SentView,
    Snapshot,
    TaskView,
    UnlinkedView,
)
from muster.node.api.warnings import warnings
from muster.node.core import Core
from muster.protocol.ids import NodeId, short
from muster.protocol.parts import Metric
from muster.protocol.records import Commit

if TYPE_CHECKING:
    from muster.job.runner import JobRunner

COMMITS_MAX = 200


def snapshot(
    core: Core,
    *,
    version: str,
    uptime_s: float,
    home: str,
    listen: list[str],
    tasks: list[TaskView],
    unlinked: list[UnlinkedView],
    now_s: float,
) -> Snapshot:
    myself = SelfView(
        id=core.node.hex(),
        name=core.trust.name(core.node) if core.trust.knows(core.node) else core.name,
        version=version,
        state=own_state(core),
        progress=core.status.progress,
        battery=core.battery(),
        energy=EnergyView(
            core.energy.said,
            power_view(core.energy.power()),
            core.energy.now_w(),
            round(core.energy.used_j(), 3) if core.energy.measures else None,
            round(core.energy.untold_s, 1),
        ),
        uptime_s=uptime_s,
        home=home,
        pid=os.getpid(),
        listen=listen,
        tasks=tasks,
        disk_bytes=core.store.used_bytes(),
        memory_bytes=memory_bytes(),
        sent=sent_view(core.exchange.traffic.total()),
        loops=loop_views(core, now_s),
        left=left_view(core, core.node),
        unlinked=unlinked,
        warnings=warnings(core),
    )
    neighbours = neighbour_views(core, now_s)
    jobs = []
    for runner in core.jobs.runners.values():
        try:
            jobs.append(job_view(core, runner, COMMITS_MAX))
        except Exception as error:  # a fault in one job hides no other
            name, job = f"showing job {short(runner.view.id)}", runner.view.id
            core.supervisor.fault(name, error, job=job, first_only=True)
    return Snapshot(core.log.last, myself, neighbours, peers(core), jobs, core.jobs.stored_count())


def loop_views(core: Core, now_s: float) -> list[LoopView]:
    """How all loops of the node are."""
    return [
        LoopView(
            h.name,
            h.state,
            None if h.round_s is None else round(now_s - h.round_s, 1),
            None if h.period_s is None else round(h.period_s, 1),
            h.faults,
            h.why,
            "" if h.well() else h.sentence(),
        )
        for h in core.supervisor.health()
    ]


def neighbour_views(core: Core, now_s: float) -> list[NeighbourView]:
    return [_neighbour(core, n, now_s - n.since_s) for n in core.link.neighbours().values()]


def _neighbour(core: Core, n: Neighbour, up_s: float) -> NeighbourView:
    sent, received = traffic_of(core, n.node)
    rtt_s, rate_bytes_s = rtt_of(core, n.node), rate_of(core, n.node)
    bytes_sent = sent_view(core.exchange.traffic.by_neighbour.get(n.node))
    return NeighbourView(n.node.hex(), n.name, up_s, rtt_s, rate_bytes_s, sent, received, bytes_sent)


def sent_view(sent: BytesSent | None) -> SentView:
    if sent is None:
        return SentView()
    return SentView(sent.payload, sent.records, sent.exchange, sent.presence, sent.again, sent.frozen)


def job_view(core: Core, runner: JobRunner, commits_max: int | None) -> JobSnapshot:
    view, head = runner.view, runner.head()
    figures = view.figures(head.id) if head else None
    if head is not None and figures is None:  # the newest one that was measured, but for the untrained one
        line = (p for p in view.graph.ancestors(head.id) if p.round)
        figures = next((found for p in line if (found := view.figures(p.id)) is not None), None)
    values_ = figures.values(view.job.metrics) if figures else {}
    recipe, stop = view.job.recipe, view.job.stop
    leader = coordinator_of(core, runner, head)
    points = sorted(view.graph.points.values(), key=lambda p: (p.age_s, p.round, p.id))
    return JobSnapshot(
        id=view.id.hex(),
        task=view.job.task,
        asker=core.trust.name(view.asker),
        state="failed" if runner.error and view.asker == core.node else runner.state(),
        why=why_of(core, runner, head),
        round=head.round if head else 0,
        head=head.id.hex() if head else "",
        coordinator=core.trust.name(leader) if leader else short(head.id) if head else "",
        accuracy=values_.get("accuracy"),
        loss=values_.get("loss"),
        metrics=metric_views(view.job.metrics),
        figures=values_,
        measured_examples=figures.examples if figures else 0,
        age_s=runner.commits.age_s(head) if head else 0.0,
        spent_bytes=sum(s.bytes for s in head.spent) if head else 0,
        joules=joules_of(head),
        share=view.job.share,
        adapts_for=adapts_for(core, view),
        width=view.job.width,
        model_bytes=runner.model_bytes(),
        stop={
            "rounds": stop.rounds,
            "target": stop.target.value if stop.target else None,
            "seconds": stop.seconds,
            "bytes": stop.bytes,
            "bytes_node": stop.bytes_node,
            "joules": stop.joules,
            "joules_node": stop.joules_node,
            "stale": stop.stale,
        },
        target=stop.target.metric if stop.target else None,
        recipe=recipe_view(recipe),
        plan=plan_of(core, runner, head),
        contributions=contributions(core, runner, head),
        commits=[commit_view(core, runner, p) for p in points[-(commits_max or len(points)) :]],
        error=runner.error,
        sent=sent_view(core.exchange.traffic.by_job.get(view.id)),
        values=values(runner, head),
        waits=runner.waits(),
        budgets=budgets(core, runner, head, runner.commits.age_s(head) if head else 0.0),
    )


def metric_views(metrics: Iterable[Metric]) -> list[MetricView]:
    """A job's metrics, in their order."""
    return [MetricView(m.name, m.best, m.exp) for m in metrics]


def commit_view(core: Core, runner: JobRunner, point: Point) -> CommitView:
    figures = runner.view.figures(point.id)
    values_ = figures.values(runner.view.job.metrics) if figures else {}
    predicted, drop = checked(runner, point)
    return CommitView(
        id=point.id.hex(),
        parents=[p.hex() for p in point.parents],
        round=point.round,
        coordinator=core.trust.name(point.author) if point.author else "",
        counted=point.updates,
        nodes=[core.trust.name(n) for n in own_of(point)],
        age_s=point.age_s,
        accuracy=values_.get("accuracy"),
        loss=values_.get("loss"),
        figures=values_,
        held=runner.models.held(point.id),
        bytes=size_bytes(runner.view.graph, point),
        bytes_total=sum(s.bytes for s in point.spent),
        joules_total=joules_of(point),
        predicted=predicted,
        drop=drop,
        stand_ins=[core.trust.name(n) for n in others_of(point)],
        pruned_bytes=pruned_bytes(runner.view.graph, point),
    )


def pruned_bytes(graph: Graph, point: Point) -> int | None:
    """Of the model that a commit leaves which prunes; None of others."""
    prunes = isinstance(point.record, Commit) and graph.prunes(point)
    return point.record.params_bytes if prunes and isinstance(point.record, Commit) else None


def size_bytes(graph: Graph, point: Point) -> int:
    """What a node at the parent downloads for a commit; a merge is computed, not downloaded, as is a model
    that is pruned."""
    if not isinstance(point.record, Commit) or graph.prunes(point):
        return 0
    return point.record.delta.size_bytes if point.record.delta else point.record.params_bytes


def joules_of(point: Point | None) -> float | None:
    """Joules used by all nodes up to a commit; None: no node knows what it draws."""
    joules = sum(s.joules for s in point.spent) if point else 0.0
    return round(joules, 3) or None


def memory_bytes() -> int:
    """Resident memory of this process (0 where /proc is missing)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def own_state(core: Core) -> str:
    """What this node does, as its heartbeats say it; `coordinating` when it does nothing else meanwhile."""
    acting = any(r.acting and r.finished() is None for r in core.jobs.runners.values())
    return "coordinating" if core.status.state == "idle" and acting else core.status.state


def why_of(core: Core, runner: JobRunner, head: Point | None) -> str:
    """One sentence: what the job is doing or waiting for."""
    view = runner.view
    if runner.error:
        return runner.error
    waits = runner.waits(outside=False)
    if head is None:
        if (over := runner.finished()) is not None:
            return over
        return waits[-1] if waits else "waits for the model that it begins with"
    done = view.finished(head)
    if done is not None:
        return done
    return "; ".join([_doing(core, runner, head), *waits[-1:]])


def _doing(core: Core, runner: JobRunner, head: Point) -> str:
    """What a job that goes on is at."""
    if head.round == 0 and not runner.view.plans:
        return f"asks for help: {len(runner.view.offers)} offers so far"
    plan = plan_of(core, runner, head)
    if plan is None:
        return f"round {head.round} is done, the next one is being planned"
    if not runner.acting:  # not every update comes by here
        return f"round {plan.round} is in progress: {len(plan.assigned)} nodes"
    missing = [n for n in plan.assigned if n not in plan.arrived]
    return f"round {plan.round}: {len(plan.arrived)} of {len(plan.assigned)} updates are in" + (
        f", {', '.join(missing)} missing" if missing else ""
    )


def plan_of(core: Core, runner: JobRunner, head: Point | None) -> PlanView | None:
    """The first plan on the head that this node knows; None between rounds."""
    if head is None:
        return None
    plans = list(runner.view.plans.get(head.id, {}).values())
    if not plans:
        return None
    plan = plans[0]
    arrived = [k.node for k, u in runner.view.updates.items() if u.record.base == head.id]
    return PlanView(
        round=plan.record.round,
        assigned=[core.trust.name(a.node) for a in plan.record.assignments],
        arrived=[core.trust.name(n) for n in arrived],
        age_s=max(0.0, runner.commits.age_s(head) - head.age_s),
        deadline_s=plan.record.deadline_s,
        why=plan.record.why,
    )


def coordinator_of(core: Core, runner: JobRunner, head: Point | None) -> NodeId | None:
    """Who coordinates as far as this node can tell; None after a merge that nobody has planned on."""
    if runner.acting:
        return core.node
    if head is None:
        return runner.view.asker
    plans = list(runner.view.plans.get(head.id, {}).values())
    return (plans[0].author if plans else head.author) or None


def rate_of(core: Core, node: NodeId) -> float | None:
    """Goodput to a neighbour in bytes a second; None: not measured."""
    meter = core.transfers.meter(node)
    return meter.rate_bytes_s if meter else None


def rtt_of(core: Core, node: NodeId) -> float | None:
    """Round trip time to a neighbour in seconds; None: not measured."""
    meter = core.transfers.meter(node)
    return (meter.rtt_s or meter.rtt_min_s) if meter else None


def traffic_of(core: Core, node: NodeId) -> tuple[int, int]:
    """Bytes sent to and received from a neighbour; zeros where the link does not count them."""
    traffic = getattr(core.link, "traffic", None)
    return traffic(node) if traffic else (0, 0)
