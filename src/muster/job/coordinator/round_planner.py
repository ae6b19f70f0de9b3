"""Brings together what the planner's policy needs: the state at a head, who can work, what is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeVar

from muster.compression.buffers import beside_bytes, weights
from muster.compression.embedding_rows import matrices
from muster.compression.tensors import Layout
from muster.history.point import Point
from muster.job.context import Context
from muster.job.coordinator.commit_writer import CommitWriter
from muster.job.coordinator.planner_states import PlannerStates
from muster.job.coordinator.pool import covered, pool_at
from muster.job.coordinator.seeded import from_seed
from muster.job.models.payloads import payload_held
from muster.job.models.store import ModelStore
from muster.job.participant.shared_samples import SharedSamples
from muster.job.roles import min_nodes
from muster.job.sharing.assistance import Assistance
from muster.job.sharing.rules import has_data
from muster.job.view import JobView
from muster.planning.assistance import Lent, assisted
from muster.planning.codec_choice import Message, down_choice
from muster.planning.costs import Left
from muster.planning.policy import Candidate, Work
from muster.planning.pool import Pool, plan_pool
from muster.planning.presence import contact_steps, share_here
from muster.planning.round_plan import NothingFits, RoundPlan
from muster.planning.stand_ins import Absent, with_stand_ins
from muster.planning.state import NodeState, PlannerState
from muster.planning.steps import STEPS_MOST, watch
from muster.protocol.ids import NodeId
from muster.protocol.parts import Spent, Steering

T = TypeVar("T", int, float)


@dataclass(frozen=True)
class Inputs:
    """What a coordinator tells the policy beside the state at the head."""

    work: Work
    candidates: Sequence[Candidate]
    left: Left
    min_nodes: int
    absent: Sequence[Absent] = ()
    judged: bool = False  # by a set that is the same for all nodes
    pool: Pool | None = None  # that one of them trains on in this round
    lent: Lent | None = None  # what those without data train on; None: the asker has none either
    everybody: int = 1  # that get the round's model

    def planned(self, state: PlannerState, *, replaces: bool) -> RoundPlan | NothingFits:
        """The round. Raises CodecError."""
        if self.pool is not None:
            return plan_pool(
                self.work, state, self.pool, self.candidates, self.left, self.everybody, replaces=replaces
            )
        found = assisted(
            self.work, state, self.lent, self.candidates, self.left, self.min_nodes, judged=self.judged,
            replaces=replaces,
        )  # fmt: skip
        if isinstance(found, NothingFits):
            return found
        taken = {a.node for a in found.round.assignments}
        local = next((c for c in self.candidates if c.local and c.node in taken), None)
        job, absent, left = self.work.job, self.absent, self.left
        return with_stand_ins(found, job, state, local, absent, left, judged=self.judged)


class RoundPlanner:
    """Plans rounds of one job as this node sees it."""

    def __init__(self, context: Context, view: JobView, models: ModelStore, commits: CommitWriter) -> None:
        self._context, self._view, self._models, self._commits = context, view, models, commits
        self._states = PlannerStates(view.graph)
        self.assistance = Assistance(context, view)

    def state(self, head: Point) -> PlannerState:
        """What is known when a round is planned on `head`."""
        return self._states.at(head)

    def plan(self, head: Point, nodes: Sequence[NodeId], *, replaces: bool) -> RoundPlan | NothingFits:
        """The round on `head` of these nodes, or of those for whom one fits into what each may spend;
        `replaces`: in the place of an earlier plan."""
        found = self.inputs(head, nodes).planned(self.state(head), replaces=replaces)
        if isinstance(found, RoundPlan) or not found.poor:
            return found
        rest = [n for n in nodes if n not in found.poor]
        if not rest or len(rest) < min_nodes(self._view, head, found.poor):
            return found
        return self.plan(head, rest, replaces=replaces)

    def inside(self, head: Point, nodes: Sequence[NodeId]) -> set[NodeId]:
        """Who would train in a round of these nodes, and who lets others do so: a node without data that does
        not help is in none."""
        own = {n for n in nodes if has_data(self._view, n)}
        if not nodes or len(own) == len(nodes):
            return own
        found = self.plan(head, nodes, replaces=False)
        work = found.round.assignments if isinstance(found, RoundPlan) else ()
        return own | {n for a in work for n in (a.node, *a.data)}

    def inputs(self, head: Point, nodes: Sequence[NodeId]) -> Inputs:
        """What a round on `head` of these nodes is planned from, beside the state."""
        layout = self._layout(head)
        work = Work(self._view.job, _contents(layout), layout.blob_bytes, bool(matrices(layout)))
        candidates = self._candidates(head, nodes, self.state(head))
        pool = pool_at(self._context, self._view, head)
        # whoever is in this round: so that a plan that helpers were left out of is made from the same figures
        helped = not all(has_data(self._view, n) for n in self._view.offers)
        if pool is not None or helped:
            candidates = [self._measured(c) for c in candidates]
        least = min(min_nodes(self._view, head), len(nodes))
        figures = self._view.figures(head.id)
        judged = figures is not None and figures.common
        return Inputs(
            work, candidates, self._left(head), least, tuple(self._absent(head)), judged,
            pool, self.assistance.lent() if helped else None, len(self._view.offers),
        )  # fmt: skip

    def _measured(self, node: Candidate) -> Candidate:
        """With the rate at which anything came from a neighbour, where it reports none."""
        rate = self._context.rate_bytes_s(node.node)
        return replace(node, reported_bytes_s=node.reported_bytes_s or rate or 0.0)

    def _absent(self, head: Point) -> Iterator[Absent]:
        """Nodes that a round may miss and that can be stood in for: not who refuses it, or was revoked."""
        view, context = self._view, self._context
        if view.job.share == "none":
            return
        store, ready = context.store, SharedSamples(context, view).ready()
        new = (u for u in view.uncounted(head.counted) if not u.record.data)
        out = {context.node, *(u.key.node for u in new if payload_held(store, u.record.payload))}
        for node, shared in sorted(ready.items()):
            if node in out or node not in view.offers or view.why_not(node, head.round + 1) is not None:
                continue
            spells = context.presence.spells(node)
            yield Absent(node, shared.samples, share_here(spells), heard_once=spells.here_for_s == 0.0)

    def commit_codec(self, head: Point) -> str:
        """The codec of a commit on `head` that closes no planned round."""
        down = self.state(head).down
        return down_choice(self._view.job, _contents(self._layout(head)), None, 0.0, down).codec

    def _layout(self, head: Point) -> Layout:
        form = self._models.form_of(head.id)
        assert form is not None
        return form.layout

    def steering_after(self, head: Point, steps: int) -> Steering:
        """What a commit carries on that closes a round of so many steps on `head`."""
        steering = self.state(head).steering
        figures = self._view.figures(head.id)
        total, count = figures.sums.get("loss", (0.0, 0.0)) if figures is not None else (0.0, 0.0)
        return watch(steering, total / count if count else None, steps or steering.steps)

    def _left(self, head: Point) -> Left:
        stop, spent = self._view.job.stop, head.spent
        return Left(
            None if stop.rounds is None else stop.rounds - head.round,
            None if stop.seconds is None else stop.seconds - self._commits.age_s(head),
            None if stop.bytes is None else stop.bytes - sum(s.bytes for s in spent) - self._uncounted(head),
            None if stop.joules is None else stop.joules - sum(s.joules for s in spent),
        )

    def _uncounted(self, head: Point) -> int:
        """Bytes of samples that are here and that the commit counts which first uses them."""
        ready = SharedSamples(self._context, self._view).ready()
        before = covered(self._view, head) if ready else set()
        return sum(shared.payload.size_bytes for node, shared in ready.items() if node not in before)

    def _candidates(self, head: Point, nodes: Sequence[NodeId], state: PlannerState) -> list[Candidate]:
        view, context = self._view, self._context
        reported = [o.goodput_bytes_s for o in view.offers.values() if o.goodput_bytes_s > 0]
        usual_bytes_s = float(median(reported)) if reported else 0.0
        seeded = from_seed(context.store, view.id)
        spent = {s.node: s for s in head.spent}
        found: list[Candidate] = []
        for node in nodes:
            offer = view.offers[node]
            # at a merge most are in the middle of their branch's next round, and finish that first
            amid = head.is_merge and context.presence.doing(node) == "training"
            steps = view.job.recipe.steps or state.steering.steps
            came = offer.goodput_bytes_s > 0
            found.append(
                Candidate(
                    node,
                    offer.step_s,
                    float(offer.goodput_bytes_s),
                    usual_bytes_s,
                    came or seeded,
                    offer.step_s * steps if amid else 0.0,
                    _least(offer.steps_max, self._steps_most(node, state, offer.step_s)),
                    offer.power,
                    self._node_left(spent.get(node), offer.bytes_left, offer.joules_left),
                    node == context.node,
                    has_data(view, node),
                )
            )
        return found

    def _steps_most(self, node: NodeId, state: PlannerState, offered_step_s: float) -> int | None:
        """The steps for which a node that comes and goes has time in this contact; None: as many as
        are wanted."""
        if node == self._context.node:
            return None
        known = state.nodes.get(node, NodeState())
        overhead_s = known.overhead.seconds if known.overhead is not None else 0.0
        wanted = self._view.job.recipe.steps or state.steering.steps or STEPS_MOST
        spells = self._context.presence.spells(node)
        fit = contact_steps(spells, overhead_s, known.step_s or offered_step_s, wanted)
        return fit if fit < wanted else None

    def _node_left(self, spent: Spent | None, bytes_left: int | None, joules_left: float | None) -> Left:
        """What one node may still spend: of the job's budget for each, and of what its owner allows."""
        stop = self._view.job.stop
        by_job = None if stop.bytes_node is None else stop.bytes_node - (spent.bytes if spent else 0)
        joules_by_job = (
            None if stop.joules_node is None else stop.joules_node - (spent.joules if spent else 0)
        )
        return Left(bytes=_least(by_job, bytes_left), joules=_least(joules_by_job, joules_left))


def _contents(layout: Layout) -> Message:
    return Message(weights(layout), beside_bytes(layout))


def _least(a: T | None, b: T | None) -> T | None:
    return min((x for x in (a, b) if x is not None), default=None)
