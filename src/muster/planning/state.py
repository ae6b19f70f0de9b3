"""What a job's planner knows, as a pure function of the job's history.

    init() -> state        observe(state, what a commit shows) -> state        merged(a, b) -> state

Every node that holds a commit derives the same state from the commits behind it, so that a coordinator that
takes over, or comes back, plans the round that the one before would have planned.  Of a node it keeps the
overhead of its rounds and by how much that varies, the seconds of its steps, samples of its link, its last
messages, and what it draws; of the job what `Steering` says, the messages of its commits and the ratios of
the last rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import median

from muster.planning.codec_choice import MESSAGES_USED, SentMessage
from muster.planning.links import SAMPLES_USED, TransferSample
from muster.planning.rounds import Overhead, learn_overhead
from muster.protocol.ids import NodeId
from muster.protocol.parts import Cost, Steering

STEPS_USED = 3  # rounds whose steps tell how fast a node is
UNSTEERED = Steering()
RATIOS_USED = 3  # rounds whose ratio of overhead and step counts
HERE_SMOOTHING = 0.2  # weight of the newest round in the part of the rounds that count a node
TRIAL_ROUNDS = 6  # with stand-ins, after which the loss may not be higher than before them,
TRIAL_RISE = 0.02  # but for this part of it,
REST_ROUNDS = 12  # or there are none for so many
DRAWN_USED = 3  # updates by which the energy that a round takes a node is known


@dataclass(frozen=True)
class Drawn:
    """What a node used from one update to the next, by its own account, and what it did meanwhile."""

    joules: float
    round_s: float  # of the rounds since its update before
    train_s: float
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True)
class NodeState:
    """What is known of one node."""

    round: int = 0  # the newest that counted an update of its
    overhead: Overhead | None = None
    steps_s: tuple[float, ...] = ()  # seconds of a step in its last rounds, newest last
    samples: tuple[TransferSample, ...] = ()
    sent: tuple[SentMessage, ...] = ()  # its last messages, but for probes
    drawn: tuple[Drawn, ...] = ()  # newest last; none where it measures no energy
    waited_s: float = 0.0  # of rounds since its last update: that time is in the next one's joules
    here: float = 0.0  # part of the rounds that counted an update of its, the newer ones more: 0..1
    stood_in: int = 0  # the newest round that counted another's update in its place
    missed: int = 0  # rounds in a row that had work for it and were closed without its update,
    missed_at: int = 0  # and the newest of these

    @property
    def step_s(self) -> float | None:
        return median(self.steps_s) if self.steps_s else None

    def newest(self) -> int:
        """The newest round that tells something of it."""
        return max(self.round, self.stood_in, self.missed_at)


@dataclass(frozen=True)
class Trial:
    """Whether stand-ins do good: the smoothed held-out loss may not be higher than some rounds before.

    `rounds` with stand-ins since `before` was the loss (None: it is not known).  `rest`: where it was higher,
    rounds for which there are none.
    """

    rounds: int = 0
    before: float | None = None
    rest: int = 0

    @property
    def resting(self) -> bool:
        return self.rest > 0


@dataclass(frozen=True)
class PlannerState:
    """What is known when a round is planned on a head."""

    nodes: Mapping[NodeId, NodeState] = field(default_factory=dict)
    down: tuple[SentMessage, ...] = ()  # the last commits' messages, but for probes
    ratios: tuple[float, ...] = ()  # overhead over step of the last rounds, newest last
    steering: Steering = UNSTEERED
    message_bytes: int = 0  # of the head's own message, which every node pulls
    is_merge: bool = False  # nodes were in the midst of other work: what the next round takes is not usual
    trial: Trial = Trial()


@dataclass(frozen=True)
class ShownUpdate:
    """An update that a commit counted, and its cost."""

    node: NodeId
    steps: int
    staleness: int
    cost: Cost
    helped: bool = False  # in the place of another node: in its first round the samples had to come, too


@dataclass(frozen=True)
class Shown:
    """What one commit shows of the round that it closed."""

    round: int
    updates: tuple[ShownUpdate, ...]
    missed: tuple[NodeId, ...]  # nodes that owed an update and were not waited for
    steering: Steering
    codec: str | None = None  # of its message; None: it has none
    message_bytes: int = 0  # of it, or of the model where there is none
    stood_in: frozenset[NodeId] = frozenset()  # nodes in whose place others trained


def init() -> PlannerState:
    """The state at a job's first commit."""
    return PlannerState()


def observe(state: PlannerState, shown: Shown) -> PlannerState:
    """The state at a commit whose parent has `state`."""
    if not (shown.updates or shown.stood_in):  # it closes or discards: no round was made
        return replace(state, message_bytes=0, is_merge=False)
    round_s = max((u.cost.turnaround_ms / 1000 for u in shown.updates if u.staleness == 0), default=0.0)
    nodes = {
        node: replace(known, waited_s=known.waited_s + round_s, here=(1.0 - HERE_SMOOTHING) * known.here)
        for node, known in state.nodes.items()
    }
    for update in shown.updates:
        known = nodes.get(update.node, NodeState(waited_s=round_s))
        nodes[update.node] = _learnt(known, update, shown.round, state)
    for node in {update.node for update in shown.updates}:
        here = state.nodes[node].here if node in state.nodes and state.nodes[node].round else 1.0
        nodes[node] = replace(nodes[node], here=here + HERE_SMOOTHING * (1.0 - here), missed=0)
    for node in shown.stood_in:
        nodes[node] = replace(nodes.get(node, NodeState()), stood_in=shown.round)
    for node in shown.missed:
        known = nodes.get(node, NodeState())
        late = known.overhead.late() if known.overhead else None
        nodes[node] = replace(known, missed=known.missed + 1, missed_at=shown.round, overhead=late)
    ratio = _ratio(nodes, shown)
    ratios = (*state.ratios, ratio)[-RATIOS_USED:] if ratio is not None else state.ratios
    down = state.down
    if shown.codec is not None and not shown.steering.probe:
        message = SentMessage(shown.codec, shown.steering.residual_ratio / 10, shown.message_bytes)
        down = (*down, message)[-MESSAGES_USED:]
    trial = _tried(state.trial, state.steering.loss, shown)
    return PlannerState(nodes, down, ratios, shown.steering, shown.message_bytes, trial=trial)


def merged(a: PlannerState, b: PlannerState, steering: Steering) -> PlannerState:
    """The state at a merge of heads with the states `a` and `b`, in whichever order: of each node what the
    branch knows that counted it last."""
    nodes = dict(a.nodes)
    for node, other in b.nodes.items():
        known = nodes.get(node)
        if known is None or _newness(known) < _newness(other):
            nodes[node] = other
    longer = max((a, b), key=lambda s: (max((n.round for n in s.nodes.values()), default=0), s.ratios))
    return PlannerState(nodes, longer.down, longer.ratios, steering, is_merge=True, trial=longer.trial)


def _learnt(known: NodeState, update: ShownUpdate, round_: int, before: PlannerState) -> NodeState:
    """A node's state after an update in a round that was planned on a head with the state `before`."""
    cost = update.cost
    train_s, turnaround_s = cost.train_ms / 1000, cost.turnaround_ms / 1000
    first, known = known.round == 0, replace(known, round=round_)
    if cost.train_ms:
        known = replace(known, steps_s=(*known.steps_s, train_s / update.steps)[-STEPS_USED:])
    if not cost.probe:
        message = SentMessage(cost.codec, cost.residual_ratio / 10, cost.size_bytes)
        known = replace(known, sent=(*known.sent, message)[-MESSAGES_USED:])
    if cost.millijoules and not first and known.waited_s:  # the first one's has the speed test in it
        drawn = Drawn(cost.millijoules / 1000, known.waited_s, train_s, cost.size_bytes, before.message_bytes)
        known = replace(known, drawn=(*known.drawn, drawn)[-DRAWN_USED:])
    known = replace(known, waited_s=0.0)
    if not cost.turnaround_ms or before.is_merge or (first and update.helped):
        return known
    known = replace(known, overhead=learn_overhead(known.overhead, turnaround_s, train_s))
    if update.staleness == 0:
        size_bytes = cost.size_bytes + before.message_bytes
        sample = TransferSample(size_bytes, max(0.0, turnaround_s - train_s))
        known = replace(known, samples=(*known.samples, sample)[-SAMPLES_USED:])
    return known


def _tried(trial: Trial, loss_before: float | None, shown: Shown) -> Trial:
    """The trial of stand-ins after a round, by the loss at its head and at the head before."""
    if trial.resting:
        return Trial(rest=trial.rest - 1)
    if not shown.stood_in:
        return trial
    loss = shown.steering.loss
    before = loss_before if trial.before is None else trial.before
    if trial.rounds + 1 < TRIAL_ROUNDS or loss is None or before is None:
        return Trial(trial.rounds + 1, before)
    worse = loss > before + TRIAL_RISE * abs(before)
    return Trial(rest=REST_ROUNDS) if worse else Trial(0, loss)


def _ratio(nodes: Mapping[NodeId, NodeState], shown: Shown) -> float | None:
    """How many steps of the median node the round's overhead is long, by who was in it in time."""
    here = [nodes[u.node] for u in shown.updates if u.staleness == 0]
    overheads = [n.overhead.seconds for n in here if n.overhead is not None]
    steps_s = [n.step_s for n in here if n.step_s]
    return max(overheads) / median(steps_s) if overheads and steps_s else None


def _newness(state: NodeState) -> tuple[int, float, int]:
    seconds = state.overhead.seconds if state.overhead is not None else 0.0
    return state.round, seconds, len(state.samples)
