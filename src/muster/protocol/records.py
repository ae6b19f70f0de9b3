"""Every record type that nodes exchange, in one file, with the limits of a record's size.

A record is an immutable msgspec struct in canonical MessagePack: structs are positional arrays, there are no
maps, and every sequence that is a set is sorted by its maker.  `envelope.py` says how a record is encoded,
named and signed.  A field is added at the end, with a default that says nothing: a default at the end is
not written, and older nodes pass over fields after those that they know.  A kind gets the next free tag; its
first field is the id of its job, if it belongs to one.  What stands inside records is in `parts.py`.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

from muster.protocol.ids import BlobId, CommitId, JobId, NodeId, RecordId
from muster.protocol.parts import (
    CLASSES,
    Assignment,
    Cost,
    Discarded,
    Figure,
    Folded,
    Metric,
    Payload,
    Power,
    Prune,
    Recipe,
    Spent,
    StandIn,
    Steering,
    StopRule,
)

INLINE_BYTES_MAX = 4096  # a payload up to this size may travel inside its record
# Of an update. A blob comes a round trip later than its record, or two; but what is inside a record crosses
# every link on which the record is not deferred (network/sync/deferred.py), and stays on disk with it.
UPDATE_INLINE_BYTES_MAX = 2560
RECORD_BYTES_MAX = 64 * 1024


class _Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    KIND: ClassVar[str]
    NEEDS: ClassVar[int] = 1  # the version with which the kind came


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
    # the sketch of what changed at the asker (`Need`): the job is for nodes with a like need; b"": for all
    like: bytes = b""
    replay: int = 0  # samples from before the change that each batch has besides `Recipe.batch` new ones
    stoppers: tuple[NodeId, ...] = ()  # who may stop it besides its asker and the fleet's owner, sorted


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
    """A step of the model's history: its parent, the updates it counts, the model it yields.

    It carries changes: the roster, the counted set and the counters behind it follow from its parent's
    (history/state.py).
    """

    KIND: ClassVar[str] = "commit"
    job: JobId
    parents: tuple[CommitId, ...]  # none for the root, else one
    round: int
    folded: tuple[Folded, ...]  # in key order
    # who stands behind the parent's roster from now on, in the order of first offers; the asker first of all
    joined: tuple[NodeId, ...]
    spent: tuple[Spent, ...]  # what nodes spent beside what `folded` and `costs` say of them; sorted by node
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
    digest: bytes = b""  # of the whole state behind it, every `DIGEST_ROUNDS` rounds (history/state.py)


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
    """The job is over, because its asker, whom it names, or the fleet's owner (with the authority's key) said
    so; it spreads like every other record."""

    KIND: ClassVar[str] = "stop"
    job: JobId
    reason: str


class Revocation(_Record, frozen=True, array_like=True, tag=11):
    """A member is out of the fleet; signed by the authority's key (author = the authority's id).

    Of several of one node all `stands` count, and the reason of the one with the lowest id.
    """

    KIND: ClassVar[str] = "revocation"
    node: NodeId
    reason: str
    name: str = ""  # in its certificate: links are refused by it where the certificate itself never came
    stands: tuple[RecordId, ...] = ()  # records of the member that count all the same, sorted


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


class Need(_Record, frozen=True, array_like=True, tag=14):
    """Labels show that a model in use got worse on a node, as conditions changed there.

    Of a node's needs with one task the newest counts, and is kept (network/sync/newest.py).
    """

    KIND: ClassVar[str] = "need"
    task: str
    fingerprint: bytes  # of the task
    incarnation: int
    number: int  # grows with each of this node, over all tasks and all incarnations that it knows of
    epoch: int  # how often this node noticed a change
    sketch: bytes  # what its inputs look like to the model (adaptation/likeness.py): fp16; b"": not known
    sketch_samples: int  # it was taken of
    labels: int  # given since the change, held-out ones included
    wrong: int  # answers among them
    over: bool = False  # the need is met, or was none


class Use(_Record, frozen=True, array_like=True, tag=15):
    """Which model a node uses, why, and how good it is there; the newest of a node and task counts."""

    KIND: ClassVar[str] = "use"
    task: str
    fingerprint: bytes  # of the task
    incarnation: int
    number: int  # as in `Need`; the two have counts of their own
    origin: JobId  # the job that the model comes from; b"": none
    commit: CommitId  # b"": a model of its own, fine-tuned or from a file
    former: CommitId  # what was in use before, so for "returned" the one that was wrong; b"": its own
    reason: str  # "first", "adopted", "forced", "returned" or "rolled back"
    age_s: float  # it has been in use when this was said
    held_n: int = 0  # held-out samples on which it was compared with the model before
    wins: int = 0  # of these, only it answered rightly
    losses: int = 0  # of these, only the other did
    live_n: int = 0  # answers since it is in use to which a label came
    live_right: int = 0


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
    | Need
    | Use
)
