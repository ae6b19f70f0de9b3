"""Every record type that nodes exchange, in one file, with the limits of a record's size.

A record is an immutable msgspec struct in canonical MessagePack: structs are positional arrays, there are no
maps, and every sequence that is a set is sorted by its maker.  `envelope.py` says how a record is encoded,
named and signed.  The fields of a record are fixed: `envelope.decode` refuses bytes that it would not write
itself, so with one more field, default or not, older records would be refused.  A new field needs a struct
with a new tag, or a new format.

Identifiers are 32 bytes.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

INLINE_BYTES_MAX = 4096  # a payload up to this size may travel inside its record
# Of an update. A blob comes a round trip later than its record, or two; but what is inside a record crosses
# every link on which the record is not deferred (network/sync/deferred.py), and stays on disk with it.
UPDATE_INLINE_BYTES_MAX = 2560
RECORD_BYTES_MAX = 64 * 1024

NodeId: TypeAlias = bytes  # SHA-256 of the node's raw Ed25519 public key
RecordId: TypeAlias = bytes
JobId: TypeAlias = bytes  # the id of the Job record
CommitId: TypeAlias = bytes  # the id of the Commit or Merge record
BlobId: TypeAlias = bytes  # SHA-256 of the blob's bytes

NOBODY: NodeId = b""  # the author of a record that is a pure function of others (Merge)


class _Record(msgspec.Struct, frozen=True, array_like=True, omit_defaults=False, gc=False):
    KIND: ClassVar[str]


class Range(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """Updates first..last (both included) of one incarnation of one node."""

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
    """One node's counters in a job so far; merged by maximum, summed over nodes."""

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


class Member(_Record, frozen=True, array_like=True, tag=1):
    """A node introduces itself: its certificate, issued by the fleet's authority."""

    KIND: ClassVar[str] = "member"
    name: str
    certificate: bytes  # DER


class Job(_Record, frozen=True, array_like=True, tag=2):
    """A request to train a task; the author is the asker."""

    KIND: ClassVar[str] = "job"
    task: str
    fingerprint: bytes
    recipe: Recipe
    stop: StopRule
    min_nodes: int
    patience_s: float
    nonce: bytes
    metrics: tuple[Metric, ...] = CLASSES  # the first is the headline
    frozen: BlobId | None = None  # what the task does not train, for nodes whose own is another; None: none
    frozen_bytes: int = 0
    share: str = (
        "none"  # whether nodes are asked for samples that stand in for them: "none", "auto", "always"
    )
    share_bytes: int = 0  # that the samples of one node may take; 0: the planner chooses
    one_shot: int = 0  # steps on all shared samples together in the first round; 0: none is made
    width: float = 1.0  # the fraction of the channels of the task's model that the job's has
    prune: Prune | None = None  # None: the model stays as it begins


class Offer(_Record, frozen=True, array_like=True, tag=3):
    """A node's answer to a call for help; the newest of a node counts."""

    KIND: ClassVar[str] = "offer"
    job: JobId
    incarnation: int
    number: int  # grows with each offer or refusal of this node, over all incarnations that it knows of
    samples: int
    step_s: float  # measured seconds of one local step of the job's batch
    battery: float | None = None  # 0..1
    available_s: float | None = None
    goodput_bytes_s: int = 0  # at which the model came here; 0: not measured
    power: Power | None = None  # None: nothing is known
    bytes_left: int | None = None  # that its owner lets others use today; None: no limit
    joules_left: float | None = None
    steps_max: int | None = None  # that it does in a round, as its owner set it; None: no limit


class Refusal(_Record, frozen=True, array_like=True, tag=4):
    """A node says why it does not take part; of its offers and refusals the newest counts.

    `round`: the last round in which it takes no part, after which it may be asked again; 0: it is out of the
    job until it offers, and does not coordinate.
    """

    KIND: ClassVar[str] = "refusal"
    job: JobId
    incarnation: int
    number: int  # one count with the offers
    reason: str
    round: int = 0


class Plan(_Record, frozen=True, array_like=True, tag=5):
    """A round: who does how many steps on top of which commit, and when it closes.

    Of its author's plans on one parent the one with the highest number counts; updates made under an older
    one count all the same.
    """

    KIND: ClassVar[str] = "plan"
    job: JobId
    parent: CommitId
    round: int  # the round that the commit will have
    assignments: tuple[Assignment, ...]
    enough: int
    deadline_s: float  # after the coordinator published it
    why: str = ""
    number: int = 0
    stand_ins: tuple[Assignment, ...] = ()  # for nodes that are away; sorted by (data, node)


class Update(_Record, frozen=True, array_like=True, tag=6):
    """One node's work on top of one commit; its key is (author, incarnation, sequence)."""

    KIND: ClassVar[str] = "update"
    job: JobId
    base: CommitId
    base_round: int
    incarnation: int
    sequence: int
    steps: int
    examples: int
    loss: float
    payload: Payload
    residual_ratio: int = 0  # what its message left for later ones: tenths of |residual| / |update|
    train_ms: int = 0  # that its steps took
    millijoules: int = 0  # that its node used since its update before, waiting and radio included
    data: tuple[NodeId, ...] = ()  # as in `Assignment`


class Commit(_Record, frozen=True, array_like=True, tag=7):
    """A step of the model's history: parents, the updates it counted, the model it yields."""

    KIND: ClassVar[str] = "commit"
    job: JobId
    parents: tuple[CommitId, ...]  # none for the root, else one
    round: int
    counted: tuple[Range, ...]  # by the whole history up to here (discarded ones too), sorted
    folded: tuple[Folded, ...]  # in key order
    roster: tuple[NodeId, ...]  # asker first, then by first offer
    spent: tuple[Spent, ...]  # sorted by node
    age_s: float
    params: BlobId  # id of the model's parameters as a dense blob; any node that rebuilt it can serve it
    params_bytes: int
    delta: Payload | None = None  # encoded difference to the parent, when smaller than the parameters
    residual_norm: float = 0.0  # of the downlink residual that the coordinator keeps
    discarded: tuple[Discarded, ...] = ()
    costs: tuple[Cost, ...] = ()  # of `folded`, in its order
    missed: tuple[int, ...] = ()  # places in the roster of nodes that owed an update and were not waited for
    steering: Steering = Steering()
    over: str = ""  # why this is the last commit although no limit is reached: nothing more fits into it
    stand_ins: tuple[StandIn, ...] = ()  # which of `folded` were trained on shared samples
    # the channels that its model keeps (algorithms/slimming/shape.py); b"": its parent's, of a first one all
    shape: bytes = b""


class Merge(_Record, frozen=True, array_like=True, tag=8):
    """Two heads become one: a pure function of its parents, computed by each node for itself."""

    KIND: ClassVar[str] = "merge"
    job: JobId
    parents: tuple[CommitId, CommitId]  # lower id first


class Measurement(_Record, frozen=True, array_like=True, tag=9):
    """An evaluation of a commit; never part of the commit's identity."""

    KIND: ClassVar[str] = "measurement"
    job: JobId
    commit: CommitId
    examples: int
    figures: tuple[Figure, ...]  # sorted by name
    common: bool  # on the task's own evaluation set, which every node has


class Stop(_Record, frozen=True, array_like=True, tag=10):
    """The job is over, because a user said so; it spreads like every other record."""

    KIND: ClassVar[str] = "stop"
    job: JobId
    reason: str


class Revocation(_Record, frozen=True, array_like=True, tag=11):
    """A member is out of the fleet; signed by the authority's key (author = the authority's id)."""

    KIND: ClassVar[str] = "revocation"
    node: NodeId
    reason: str


class Contribution(_Record, frozen=True, array_like=True, tag=12):
    """What each update that a commit counted was worth on held-out data; by the commit's author."""

    KIND: ClassVar[str] = "contribution"
    job: JobId
    commit: CommitId
    examples: int
    common: bool  # on the task's own evaluation set; else on what the author holds out of its data
    drop: float  # of the mean loss, by all of the updates together, as evaluated
    values: bytes  # a little-endian float32 for each of the commit's `folded`, in their order


class Shared(_Record, frozen=True, array_like=True, tag=13):
    """Samples of a node's data by which others may stand in for it in one job; the newest of a node counts.

    They leave the node because its owner allows that (`[policy] share`).
    """

    KIND: ClassVar[str] = "shared"
    job: JobId
    incarnation: int
    number: int  # grows with each of this node, over all incarnations that it knows of
    kind: str  # "samples", "medoids", "means" or "robust": only means tell of no single sample
    samples: int
    stands_for: int  # samples of the node that they stand for
    payload: Payload  # a coreset (coresets/coding), codec "coreset"; always a blob, which goes with the job


Record: TypeAlias = (
    Member
    | Job
    | Offer
    | Refusal
    | Plan
    | Update
    | Commit
    | Merge
    | Measurement
    | Stop
    | Revocation
    | Contribution
    | Shared
)


def short(identifier: bytes) -> str:
    """The first 4 bytes as hex, for people."""
    return identifier[:4].hex()
