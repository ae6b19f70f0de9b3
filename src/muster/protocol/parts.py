"""What records are made of: the structs that stand inside them, each a positional array too."""

from __future__ import annotations

import msgspec

from muster.protocol.ids import BlobId, NodeId


class Range(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """Updates first..last (both included) of one incarnation of one node, as a counted set lists them."""

    node: NodeId
    incarnation: int
    first: int
    last: int


class Payload(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Encoded tensors: inside the record (`inline`) or in a blob of `size_bytes`."""

    codec: str
    size_bytes: int
    inline: bytes | None = None
    blob: BlobId | None = None


class Recipe(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How participants train and how their updates are folded.

    Where the planner chooses (`steps` 0, `server_momentum` None), each round's plan says what was chosen.
    """

    lr: float  # of local steps while there is no round momentum; with momentum the planner lowers it
    batch: int
    steps: int  # local steps a round; 0: the planner chooses
    seed: int
    momentum: float = 0.0
    codec: str = "auto"
    down_codec: str = "auto"
    server_lr: float = 1.0
    server_momentum: float | None = 0.0  # the round momentum; None: the planner chooses
    average: int = 1  # the closing commit is the mean of the last so many models of its line; 1: none is made
    lr_end: float = 1.0  # the fraction of lr that the last round (`StopRule.rounds`) has


class Metric(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a task is judged by, and whether more or less of it is better."""

    name: str
    best: str  # "max" | "min"
    exp: bool = False  # shown as exp(sum / count), such as a perplexity


LOSS = Metric("loss", "min")  # the mean loss; every job has it


CLASSES = (Metric("accuracy", "max"), LOSS)  # of a classifier


class Figure(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """A metric's sum over what it was taken of, and how many (or how much) that is: their ratio counts.

    Whole numbers are sent as such, in fewer bytes.
    """

    name: str
    sum: int | float
    count: int | float


class Target(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A metric has come to a value, by its direction; pooled over the nodes' measurements."""

    metric: str
    value: float  # as it is shown: a perplexity, not its logarithm


class StopRule(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The job ends at the first head for which one of these holds; None is no limit."""

    rounds: int | None = None
    target: Target | None = None
    seconds: float | None = None
    bytes: int | None = None
    stale: int | None = None  # rounds in a row in which the job's first metric got no better
    bytes_node: int | None = None  # that any one node may spend; who has spent it is asked for no more
    joules: float | None = None  # of all nodes
    joules_node: float | None = None  # as `bytes_node`


class Prune(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The model becomes smaller while it is trained: `width` is the fraction of each group's channels that it
    keeps from round `last` on; from round `first` on it gets there in equal steps."""

    width: float
    first: int
    last: int


class Spent(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """One node's counters: in a commit what is added, at a point of the history what was spent so far, merged
    by maximum."""

    node: NodeId
    steps: int
    examples: int
    bytes: int
    joules: float = 0.0


class Power(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a node draws, by its gauge or by the power model of its configuration: watts, and joules of its
    radio for a byte and for an exchange (the tail in which the radio stays awake)."""

    idle_w: float
    train_w: float  # while it trains, the idle watts included
    sent_j_byte: float = 0.0
    received_j_byte: float = 0.0
    exchange_j: float = 0.0


class Cost(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one counted update cost, as its node reported it and as its coordinator saw it come."""

    turnaround_ms: int  # from the plan to the update's arrival at the coordinator; 0: not known
    train_ms: int  # of its local steps
    size_bytes: int  # of its message
    codec: str
    residual_ratio: int  # tenths of |residual| / |update| after it
    millijoules: int = 0  # that its node used since its update before
    probe: bool = False  # it was of another size than usual, to measure the link


class Steering(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a job's planner carries from round to round beside its nodes' costs (`planning.state`)."""

    steps: int = 0  # of the median node in the last round
    halvings: int = 0  # of the steps, because the held-out loss stood still
    on_trial: bool = False  # the last halving has not helped yet
    stalled: int = 0  # rounds since the smoothed loss last fell enough
    taken_back: int = 0  # halvings that did not help
    loss: float | None = None  # held-out, smoothed; None: none was measured yet
    best: float | None = None  # the smoothed loss from which a fall is counted
    residual_ratio: int = 0  # of the commit's own message, as in `Cost`
    probe: bool = False  # the commit's own message was one


class Assignment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a node does in a round.

    `data`: the nodes whose shared samples (`Shared`) it trains on in the place of its own data, sorted; none:
    its own.
    """

    node: NodeId
    steps: int
    codec: str
    data: tuple[NodeId, ...] = ()


class Folded(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An update that a commit counted, by its key, and the weight that it had in the aggregate.

    Examples stand here and not only in the update, so that the weight of a branch is a function of commits.
    """

    node: NodeId
    incarnation: int
    sequence: int
    steps: int
    examples: int
    staleness: int
    weight: float


class StandIn(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """An update that a commit counted was trained on the shared samples of others than its author."""

    place: int  # of the update in the commit's `folded`
    data: tuple[int, ...]  # places in the roster of the nodes whose samples they are, ascending


class Discarded(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An update that is never to be counted, and why."""

    node: NodeId
    incarnation: int
    sequence: int
    reason: str
