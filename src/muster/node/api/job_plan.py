"""What a job would take, for `muster plan`: nobody is asked, and what nobody knows is said.

This node's trainer measures its own speed.  Of others in reach counts what past jobs of the task showed:
offers, and what updates cost; a node of which nothing is known is taken to be like those that are.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from muster.compression.buffers import beside_bytes, weights
from muster.compression.embedding_rows import matrices
from muster.compression.tensors import Layout
from muster.job.runner import JobRunner
from muster.job.sharing.rules import limit_bytes
from muster.node.api.job_description import requested, settled, sharing_of
from muster.node.api.plan_view import PlannedNode, PlannedRound, PlanView
from muster.node.api.snapshot_builder import rate_of
from muster.node.catalogue import Catalogue
from muster.node.core import Core
from muster.planning.assistance import Terms, first_terms, room_bytes, steps_ahead
from muster.planning.codec_choice import Message
from muster.planning.costs import Left
from muster.planning.policy import Candidate, Work
from muster.planning.pool import Pool
from muster.planning.projection import ROUNDS_MAX, Projection, project
from muster.planning.state import NodeState, PlannerState
from muster.protocol.ids import NodeId
from muster.protocol.parts import StopRule
from muster.protocol.quantities import size_text
from muster.protocol.records import Job, Offer

JOBS_USED = 8  # past jobs of the task that are in memory
ROUNDS_SHOWN = 5


async def plan(core: Core, catalogue: Catalogue, arguments: dict[str, Any]) -> PlanView:
    """The plan of a job as `train` would ask for it. Raises MusterError."""
    request = requested(arguments)
    async with catalogue.borrowed(request.task) as trainer:
        width = 1.0 if request.width is None else request.width
        await trainer.take_width(width)
        facts = trainer.task
        request, recipe, stop = settled(request, facts.defaults, facts.metrics)
        step_s = await trainer.measure_speed(recipe.batch)
    job = Job(
        request.task, facts.fingerprint, recipe, stop, request.min_nodes, request.patience_s, b"",
        facts.metrics, width=width, **sharing_of(request),
    )  # fmt: skip
    return planned(core, job, facts.layout, step_s, request.start is None)


def planned(core: Core, job: Job, layout: Layout, step_s: float, seeded: bool) -> PlanView:
    """The same, once the task is known and `step_s`, seconds of a step here; `seeded`: others can make the
    first model."""
    offers, seen, from_jobs = _past(core, job.task)
    near = core.link.neighbours()
    members = sorted(n for n in core.trust.members() if n != core.node)
    others = [n for n in members if n in near or core.presence.lively(n)]
    helpers = [n for n in others if n in offers and not offers[n].samples]
    others = [n for n in others if n not in helpers]
    steps_s = [s for n in others if (s := _step_s(n, offers, seen)) is not None]
    usual_s = median(steps_s) if steps_s else step_s
    rates = [r for n in others if (r := _rate(core, n, offers)) > 0]
    usual_rate = float(median(rates)) if rates else 0.0
    each = Left(bytes=job.stop.bytes_node, joules=job.stop.joules_node)
    mine = Candidate(core.node, step_s, power=core.energy.power(), left=each, local=True)
    candidates = [mine]
    for node in others:
        offer = offers.get(node)
        candidates.append(
            Candidate(
                node, _step_s(node, offers, seen) or usual_s, _rate(core, node, offers), usual_rate, seeded,
                power=offer.power if offer is not None else None, left=each,
            )
        )  # fmt: skip
    work = Work(
        job, Message(weights(layout), beside_bytes(layout)), layout.blob_bytes, bool(matrices(layout))
    )
    state = PlannerState({n: s for n, s in seen.items() if n in {c.node for c in candidates}})
    stop = job.stop
    left = Left(stop.rounds, stop.seconds, stop.bytes, stop.joules)
    enough = job.min_nodes <= len(candidates)
    pool = None
    if job.one_shot:
        nodes = tuple(sorted(c.node for c in candidates))
        pool = Pool(nodes, len(others) * limit_bytes(job))
    found = project(work, state, candidates, left, job.min_nodes, pool) if enough else Projection((), "")
    known = {n: ("a job before" if n in seen else "an offer before") for n in offers if n in others}
    names = {core.node: "measured here"} | {n: known.get(n, "like those known") for n in others}
    view = _view(core, job, found, names, from_jobs, enough)
    if helpers and not job.one_shot:
        terms = {
            n: first_terms(step_s, offers[n].step_s, _rate(core, n, offers), job.recipe.steps)
            for n in helpers
        }
        view.sentences.append(_help(core, job, terms, steps_ahead(job, step_s, left)))
    return view


def _help(core: Core, job: Job, terms: dict[NodeId, Terms], steps: int) -> str:
    """What nodes without data, which offered in an earlier job, would do for this one."""
    node, best = max(terms.items(), key=lambda item: item[1].times(steps, 0))
    who, room = f"{core.trust.name(node)} has no data of its own", room_bytes(best, steps)
    if not room:
        return (
            f"{who}, and its help does not pay: {steps} steps would be done later than here, or little sooner"
        )
    if job.share == "none":
        return f"{who} and could train on samples of this node: --share auto"
    if core.context.policy.share.share == "none":
        return f"{who}, and this node's owner lets no samples leave it: [policy] share in node.toml"
    times = f"{best.times(steps, room):.2g} times as soon"
    return f"{who} and helps: on {size_text(room)} of samples {steps} steps are done {times}"


def _past(core: Core, task: str) -> tuple[dict[NodeId, Offer], dict[NodeId, NodeState], int]:
    """Of past jobs of a task that are in memory, the newest last: offers, what rounds showed, how many."""
    runners: list[JobRunner] = [r for r in core.jobs.runners.values() if r.view.job.task == task]
    offers: dict[NodeId, Offer] = {}
    seen: dict[NodeId, NodeState] = {}
    for runner in runners[-JOBS_USED:]:
        offers |= runner.view.offers
        if (head := runner.head()) is not None:
            seen |= runner.planner.state(head).nodes
    return offers, {n: _kept(s) for n, s in seen.items()}, len(runners[-JOBS_USED:])


def _kept(known: NodeState) -> NodeState:
    """What of a node's state holds for another job: not what its messages left out there."""
    return NodeState(0, known.overhead, known.steps_s, known.samples, (), known.drawn)


def _step_s(node: NodeId, offers: dict[NodeId, Offer], seen: dict[NodeId, NodeState]) -> float | None:
    if node in seen and seen[node].step_s:
        return seen[node].step_s
    return offers[node].step_s if node in offers else None


def _rate(core: Core, node: NodeId, offers: dict[NodeId, Offer]) -> float:
    """Bytes a second of the link to a node, 0: not measured."""
    offered = float(offers[node].goodput_bytes_s) if node in offers else 0.0
    return offered or rate_of(core, node) or 0.0


def _view(
    core: Core, job: Job, found: Projection, names: dict[NodeId, str], from_jobs: int, enough: bool
) -> PlanView:
    name_of = core.trust.name
    nodes = []
    if found.rounds:
        first = found.rounds[0]
        resources = {r.node: r for r in first.resources}
        nodes = [
            PlannedNode(
                name_of(a.node), a.steps, a.codec, resources[a.node].step_s,
                resources[a.node].expected_s(a.steps), first.messages.size_bytes(a.node),
                first.joules[a.node], names[a.node],
            )
            for a in first.round.assignments
        ]  # fmt: skip
    rounds = [
        PlannedRound(i, r.why, r.usage.seconds, r.usage.bytes, r.usage.joules)
        for i, r in enumerate(found.rounds[:ROUNDS_SHOWN], 1)
    ]
    return PlanView(
        job.task, nodes, rounds, len(found.rounds), bool(found.ends), found.seconds, found.bytes,
        found.joules, _sentences(job, found, names, from_jobs, enough),
    )  # fmt: skip


def _sentences(
    job: Job, found: Projection, names: dict[NodeId, str], from_jobs: int, enough: bool
) -> list[str]:
    """What is to be said beside the figures."""
    if not enough:
        there = f"{len(names)} node{'s are' if len(names) > 1 else ' is'} in reach"
        return [f"{there} and --min-nodes is {job.min_nodes}: the job would wait for others"]
    said = [_end(job.stop, found)]
    if job.one_shot and found.rounds:
        each = size_text(limit_bytes(job))
        said.append(f"all nodes are taken to share samples, {each} each: whether they do, their owners say")
    elif job.share != "none":
        each = size_text(limit_bytes(job))
        said.append(
            f"whose owner lets it shares samples, {each} of a node at most and once, which stand in where it"
            " is away: they are not in the figures"
        )
    if job.prune is not None:
        part = f"{100 * job.prune.width:.0f} % of its channels"
        said.append(
            f"after round {job.prune.last} the model has {part}: later rounds take less than said here"
        )
    if job.stop.target is not None or job.stop.stale is not None:
        said.append("how many rounds it takes to what is to be reached nobody can know beforehand")
    unknown = sum(source == "like those known" for source in names.values())
    if unknown:
        like = "the others" if unknown < len(names) - 1 else "this one"
        said.append(f"nothing is known of {unknown} of the nodes: they are taken to be like {like}")
    if len(names) == 1:
        said.append("no other node is in reach now: others that come later take part")
    elif not from_jobs:
        said.append("no job of this task was here yet: what a round costs is an assumption until its first")
    if found.rounds and not any(found.rounds[0].joules.values()):
        said.append("no node says what it draws, so energy is not known: [energy] in node.toml")
    if len(names) > 1:
        said.append("whether the others take part they say when they are asked")
    return said


def _end(stop: StopRule, found: Projection) -> str:
    count = len(found.rounds)
    if not count:
        return f"no round fits: {found.ends}"
    if found.ends == "rounds":
        return f"it ends with its {count} rounds"
    if found.ends:
        return f"about {count} rounds fit into its budget; then {found.ends}"
    if count >= ROUNDS_MAX:
        return f"more than {ROUNDS_MAX} rounds fit; the figures are of the first {ROUNDS_MAX}"
    return f"no budget ends it; the figures are of the first {count} rounds"
