"""Plans a round: who does how many steps with which codec, from what the job's history shows.

    plan(task, state, nodes, left) -> RoundPlan, or NothingFits

A pure function of records and of what is left: any coordinator that holds the same head plans the same round
of the same nodes.  What binds the job, seconds, joules or bytes, decides what a round's overhead and a step
are counted in; then the steps follow (`planning.steps`), the codecs (`planning.messages`), and the deadlines
(`planning.rounds`).  A round that does not fit into what is left becomes smaller; the last one takes it all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from muster.planning.codec_choice import LADDER, Message
from muster.planning.costs import UNLIMITED, Left, Usage, joules, rounds_left
from muster.planning.messages import MessagePlan, Peer, plan_messages
from muster.planning.round_plan import NothingFits, RoundPlan
from muster.planning.rounds import Overhead, Resources, plan_round
from muster.planning.state import NodeState, PlannerState
from muster.planning.steps import STEPS_MOST, steered_steps
from muster.protocol.ids import NodeId
from muster.protocol.parts import Power
from muster.protocol.records import Job

OVERHEAD_S = 0.5  # of a node's first round, beside its bytes
UNKNOWN_RATE_BYTES_S = 16_000.0  # assumed of a link until a round was measured
STEP_MIN_S = 1e-4
FAST_MOST = 2  # times the median node's steps: more drift than they teach, where each node has few classes
LAST_ROUNDS = 2.0  # with less than so many rounds left, the next one is the last
OFF_MOST = 3.0  # times that a node uses more, or less, than its power says


@dataclass(frozen=True)
class Candidate:
    """A node that can be given work now, as it offered itself and as it is seen from here.

    `reported_bytes_s`: goodput at which the model came to it, 0: not measured; `usual_bytes_s`: to others
    like it.  `busy_s`: other work that it may have to finish first.  `steps_most`: that it takes, or that fit
    into its usual contact.  `left`: what it may spend.  `local`: it is the coordinator itself.  A node that
    not `has_data` of its own can only train on what others share.
    """

    node: NodeId
    step_s: float
    reported_bytes_s: float = 0.0
    usual_bytes_s: float = 0.0
    has_model: bool = True
    busy_s: float = 0.0
    steps_most: int | None = None
    power: Power | None = None
    left: Left = UNLIMITED
    local: bool = False
    has_data: bool = True


@dataclass(frozen=True)
class Work:
    """What is trained: the job, the contents of an update of its model, the model's bytes."""

    job: Job
    contents: Message
    model_bytes: int
    by_rows: bool = False  # rows that nobody touched are not sent


def plan(
    work: Work, state: PlannerState, nodes: Sequence[Candidate], left: Left, min_nodes: int,
    *, replaces: bool = False,
) -> RoundPlan | NothingFits:  # fmt: skip
    """The next round of `nodes`. `replaces`: it takes the place of another plan, and tries nothing out.

    Raises CodecError for a codec that there is not.
    """
    policy = _Policy(work, state, left, min_nodes, replaces)
    nodes = sorted(nodes, key=lambda n: (_known(state, n).round, n.node))  # who was counted longest ago first
    ratio = policy.ratio(nodes, None)
    draft = policy.draft(nodes, policy.tau(ratio))
    binds, rounds = _binding(nodes, draft, left)
    if binds in ("bytes", "joules") and not work.job.recipe.steps:
        ratio = policy.ratio(nodes, binds)
        draft = policy.draft(nodes, policy.tau(ratio))
        binds, rounds = _binding(nodes, draft, left)
    all_rounds = rounds_left(left, draft.usage, but_rounds=True)[1]
    if all(_affords(n, draft) for n in nodes) and all_rounds >= LAST_ROUNDS:
        found: RoundPlan | NothingFits = replace(draft, binds=binds, rounds_left=rounds)
    else:
        found = policy.fitted(nodes, draft)
    if isinstance(found, NothingFits) or work.job.recipe.steps:
        return found
    return replace(found, ratio=ratio, halvings=state.steering.halvings)


def _known(state: PlannerState, node: Candidate) -> NodeState:
    return state.nodes.get(node.node, NodeState())


def _binding(nodes: Sequence[Candidate], draft: RoundPlan, left: Left) -> tuple[str | None, float]:
    """What the job is shortest of, and for how many rounds like the draft it lasts: of all that is left, or
    of what the median node may spend."""
    of_all = rounds_left(left, draft.usage)
    of_each = sorted((rounds_left(n.left, _usage(n, draft)) for n in nodes), key=lambda found: found[1])
    return min((of_all, of_each[len(nodes) // 2]), key=lambda found: found[1])


def _usage(node: Candidate, draft: RoundPlan) -> Usage:
    return Usage(draft.usage.seconds, draft.messages.size_bytes(node.node), draft.joules[node.node])


def _affords(node: Candidate, draft: RoundPlan) -> bool:
    """Whether a node has left what the draft asks of it."""
    return _usage(node, draft).fits(node.left)


@dataclass(frozen=True)
class _Policy:
    """What stays the same while a round is made to fit."""

    work: Work
    state: PlannerState
    left: Left
    min_nodes: int
    replaces: bool

    # ---- how many steps

    def tau(self, ratio: float) -> int:
        """Steps of the median node: the recipe's, or those that follow from a ratio of costs."""
        return self.work.job.recipe.steps or steered_steps(ratio, self.state.steering)

    def ratio(self, nodes: Sequence[Candidate], binds: str | None) -> float:
        """What a round costs beside its steps over what a step costs, in what binds."""
        if binds == "bytes":
            return math.inf
        overhead_s = max(self._overhead(n, 0).seconds for n in nodes)
        step_s = median(self._step_s(n) for n in nodes)
        powers = [n.power for n in nodes if n.power is not None and n.power.train_w > 0]
        if binds == "joules" and powers:
            beside_j = median(joules(p, overhead_s, 0.0, 0, 0) for p in powers)
            return beside_j / median(p.train_w * step_s for p in powers)
        return median(self.state.ratios) if self.state.ratios else overhead_s / step_s

    def _step_s(self, node: Candidate) -> float:
        return max(STEP_MIN_S, _known(self.state, node).step_s or node.step_s)

    # ---- a round as it would be

    def draft(
        self, nodes: Sequence[Candidate], tau: int, window_s: float | None = None, denser: int = 0
    ) -> RoundPlan:
        """A round of so many steps, or of `window_s`, with messages some rungs `denser`."""
        work, state = self.work, self.state
        steps_s = tau * median(self._step_s(n) for n in nodes)
        peers = [Peer(n.node, n.reported_bytes_s, n.local) for n in nodes]
        messages = plan_messages(
            work.job, work.contents, work.by_rows, state, peers, steps_s, probing=not self.replaces,
            denser=denser,
        )  # fmt: skip
        resources = tuple(self._resources(n, messages) for n in nodes)
        if window_s is None and not work.job.recipe.steps:
            window_s = max(r.overhead_s for r in resources) + steps_s
        usual = tau if window_s is None else min(STEPS_MOST, FAST_MOST * tau)
        most = {n.node: _least(usual, n.steps_most) for n in nodes}
        round_ = plan_round(resources, tau, self.min_nodes, window_s=window_s, most=most.__getitem__)
        steps = {a.node: a.steps for a in round_.assignments}
        used = {
            n.node: self._joules(n, round_.expected_s, steps[n.node] * self._step_s(n), messages)
            for n in nodes
        }
        sent = sum(messages.size_bytes(n.node) for n in nodes)
        usage = Usage(round_.expected_s, sent, math.fsum(used.values()))
        return RoundPlan(round_, messages, resources, tau, usage, used)

    def _resources(self, node: Candidate, messages: MessagePlan) -> Resources:
        choice, link = messages.up[node.node], messages.links[node.node]
        overhead, sent = self._overhead(node, choice.size_bytes), _known(self.state, node).sent
        seconds = overhead.seconds
        if sent and link.goodput_bytes_s and not node.local:  # its message is larger or smaller than before
            usual = median(m.size_bytes or choice.size_bytes for m in sent)
            seconds = max(0.05, seconds + (choice.size_bytes - usual) / link.goodput_bytes_s)
        deviation_s = None if self.state.is_merge else overhead.deviation_s  # nothing is as usual there
        return Resources(node.node, self._step_s(node), seconds, choice.codec, node.busy_s, deviation_s)

    def _overhead(self, node: Candidate, up_bytes: int) -> Overhead:
        """What a round costs a node beside its steps, as learnt; a new one is like the slowest, as it may
        have to catch up; at first what its update takes, and the model unless it has that already."""
        known = _known(self.state, node).overhead
        if known is not None:
            return known
        others_s = [n.overhead.seconds for n in self.state.nodes.values() if n.overhead is not None]
        if others_s:
            return Overhead(max(others_s))
        if node.local:
            return Overhead(OVERHEAD_S)
        size_bytes = up_bytes + (0 if node.has_model else self.work.model_bytes)
        rate_bytes_s = node.reported_bytes_s or node.usual_bytes_s or UNKNOWN_RATE_BYTES_S
        return Overhead(OVERHEAD_S + size_bytes / rate_bytes_s)

    def _joules(self, node: Candidate, round_s: float, train_s: float, messages: MessagePlan) -> float:
        """What its next update will say that it used: by its power and by how far that was off so far, or by
        the watts of its last rounds; with what it used in rounds that it was not in."""
        known = _known(self.state, node)
        round_s += known.waited_s
        if node.power is None:
            return round_s * median([d.joules / d.round_s for d in known.drawn] or [0.0])
        off = [
            d.joules / expected_j
            for d in known.drawn
            if (expected_j := joules(node.power, d.round_s, d.train_s, d.sent_bytes, d.received_bytes)) > 0
        ]
        up_bytes, down_bytes = messages.up[node.node].size_bytes, messages.down.size_bytes
        factor = min(OFF_MOST, max(1 / OFF_MOST, median(off or [1.0])))
        return factor * joules(node.power, round_s, train_s, up_bytes, down_bytes)

    # ---- what is left

    def fitted(self, nodes: Sequence[Candidate], draft: RoundPlan) -> RoundPlan | NothingFits:
        """A round that fits into what is left, and takes all of it where it is the last one."""
        nodes, tau, denser, window_s = list(nodes), draft.tau, 0, None
        gone: list[Candidate] = []  # who may not spend what a round takes it
        while True:
            draft = self.draft(nodes, tau, window_s, denser)
            binds, rounds = rounds_left(self.left, draft.usage, but_rounds=True)
            poor = [n for n in nodes if not _affords(n, draft)]
            if rounds >= 1.0 and not poor:
                break
            smaller = draft.messages != self.draft(nodes, tau, window_s, denser - 1).messages
            if rounds >= 1.0 or binds == "bytes":
                if smaller:
                    denser -= 1
                    continue
                gone += poor
                nodes = [n for n in nodes if n not in poor] if poor else nodes[:-1]
            elif binds == "joules" and tau > 1:
                tau = max(1, min(tau - 1, math.floor(tau * rounds)))
                continue
            elif binds == "seconds" and window_s is None:
                assert self.left.seconds is not None
                window_s = self.left.seconds
                continue
            elif binds == "seconds":
                nodes = [n for n in nodes if n.node not in _too_slow(draft, window_s or 0.0)]
            else:
                nodes = nodes[:-1]
            # who may not spend more is not missed, as one out of reach would be
            if len(nodes) < max(1, self.work.job.min_nodes, self.min_nodes - len(gone)):
                return _nothing_fits(self.left, draft.usage, binds, gone)
            window_s = None
        return self._stretched(nodes, draft, tau, denser, binds, rounds)

    def _stretched(
        self, nodes: Sequence[Candidate], draft: RoundPlan, tau: int, denser: int, binds: str | None,
        rounds: float,
    ) -> RoundPlan:  # fmt: skip
        """The same, larger by what would be left behind it."""
        if rounds >= LAST_ROUNDS:
            return replace(draft, binds=binds, rounds_left=rounds)
        found = draft
        if binds == "bytes":
            for more in range(denser + 1, denser + len(LADDER)):
                larger = self.draft(nodes, tau, None, more)
                if not larger.usage.fits(self.left) or not all(_affords(n, larger) for n in nodes):
                    break
                found = larger
        elif not self.work.job.recipe.steps:
            larger = (
                self.draft(nodes, tau, self.left.seconds, denser)
                if binds == "seconds"
                else self.draft(nodes, min(STEPS_MOST, math.floor(tau * rounds)), None, denser)
            )
            if larger.usage.fits(self.left) and all(_affords(n, larger) for n in nodes):
                found = larger
        return replace(found, binds=binds, last=True)


def _least(a: int, b: int | None) -> int:
    return a if b is None else min(a, b)


def _too_slow(draft: RoundPlan, window_s: float) -> set[NodeId]:
    """Nodes that cannot do a step in so many seconds; the slowest if all can."""
    slow = {r.node for r in draft.resources if r.overhead_s + r.step_s > window_s}
    return slow or {max(draft.resources, key=lambda r: (r.overhead_s + r.step_s, r.node)).node}


def _nothing_fits(left: Left, usage: Usage, binds: str | None, poor: Sequence[Candidate]) -> NothingFits:
    if binds is None or usage.fits(left):
        names = tuple(n.node for n in poor)
        return NothingFits("the nodes that are in reach have spent what they may", names)
    unit = {"seconds": "s", "bytes": "bytes", "joules": "J"}[binds]
    needed, there = getattr(usage, binds), max(0, getattr(left, binds))
    return NothingFits(f"a round takes about {needed:.4g} {unit}, and {there:.4g} {unit} are left")
