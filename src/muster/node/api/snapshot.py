"""What a node shows of itself as one value, sent as JSON to the command line and the terminal view.

Times in it are ages in seconds, so that no reader needs this node's clock; ids are hex.  (The page follows
rows that change instead: `rows/schema.py`.)
"""

from __future__ import annotations

import msgspec


class TaskView(msgspec.Struct, frozen=True):
    """A task that is installed here; empty but for the name while it was not opened."""

    name: str
    version: str
    fingerprint: str
    parameters: int
    samples: int
    error: str | None = None  # why it cannot be trained here
    where: str = ""  # it comes from: a file, or the class of an installed package


class SentView(msgspec.Struct, frozen=True):
    """What this node sent, before the engine's framing: bytes since its start (`traffic_counters`)."""

    payload: int = 0  # updates, deltas and models
    records: int = 0  # records beside their payload: identifiers, signatures, fields
    exchange: int = 0  # announcements, comparisons, questions
    presence: int = 0
    again: int = 0  # of payload and records: sent to the same neighbour before
    frozen: int = 0  # of what tasks do not train, to nodes that lacked it


class LoopView(msgspec.Struct, frozen=True):
    """One of the loops that go on in a node's background."""

    name: str
    state: str  # well | late: it should have gone round | restarting: after a fault, soon
    round_s: float | None  # seconds since it went round last; None: it has no rounds
    period_s: float | None  # in which it meant to go round again; None: when what it waits for comes
    faults: int  # in the last ten minutes
    why: str  # the last of these
    sentence: str = ""  # when there is something to say of it


class PowerView(msgspec.Struct, frozen=True):
    """What a node draws, as it says itself: by a meter, or by a model where its owner gave one."""

    idle_w: float
    train_w: float  # while it trains, the idle watts included
    sent_j_byte: float  # joules of its radio for a byte sent, and so on; 0: none, or in the watts
    received_j_byte: float
    exchange_j: float  # from the last byte until the radio sleeps again


class EnergyView(msgspec.Struct, frozen=True):
    """What the node that answers knows of its energy (docs/energy.md)."""

    said: str  # which meter is used, or why there is none
    power: PowerView | None  # None: not known, or not yet
    now_w: float | None  # as it is now, idle or training, without its radio
    used_j: float | None  # since its start; None: nothing is counted
    untold_s: float  # in which its meter could not tell, such as while a battery is charged


class LeftView(msgspec.Struct, frozen=True):
    """What a node's owner lets others use yet of today; None: no limit."""

    bytes: int | None = None
    joules: float | None = None
    available_s: float | None = None
    why: str = ""  # it does nothing for others now


class UnlinkedView(msgspec.Struct, frozen=True):
    """A configured neighbour to which there is no link now."""

    endpoint: str
    kind: str  # why, in short: "no host", "rejected", "small packets", "other fleet" ...
    sentence: str  # ... and for people, with what to do


class SelfView(msgspec.Struct, frozen=True):
    """The node that answers."""

    id: str
    name: str
    version: str
    state: str  # idle | preparing | receiving | training | sending | coordinating
    progress: float  # 0..1 of what `state` says
    battery: float | None
    uptime_s: float
    home: str
    pid: int
    listen: list[str]
    tasks: list[TaskView]
    disk_bytes: int
    memory_bytes: int
    sent: SentView = SentView()  # to all neighbours
    loops: list[LoopView] = []
    energy: EnergyView | None = None
    left: LeftView | None = None  # None: no limit
    unlinked: list[UnlinkedView] = []  # that were looked at
    warnings: list[str] = []  # of keys that are used twice, equal names, or that this node is out


class NeighbourView(msgspec.Struct, frozen=True):
    """A node with a link to this one."""

    id: str
    name: str
    up_s: float
    rtt_s: float | None
    goodput_bytes_s: float | None
    sent_bytes: int  # application bytes since start
    received_bytes: int
    sent: SentView = SentView()


class PeerView(msgspec.Struct, frozen=True):
    """Any node of the fleet, however many hops away, by its last heartbeat."""

    id: str
    name: str
    state: str
    progress: float
    heard_s: float | None  # age of its last heartbeat; None: none came since start
    battery: float | None
    step_s: float | None
    reachable: bool
    refused: int = 0  # records of its making that this node refused since it started: they cannot be
    cut_off: bool = False  # it made or sent so many that it is not heard for some minutes
    power: PowerView | None = None  # by its offer
    left: LeftView | None = None  # by its last answer to a job that goes on; None: no limit is known
    here: float | None = (
        None  # the part of the time in which it was heard lately, 0..1; None: it never was away
    )
    back_s: float | None = None  # until it is heard again, as it came and went so far; None: nobody can say
    revoked: str | None = None  # why the fleet's owner put it out
    later: str = ""  # what it makes of a later version, on which this node cannot act: a sentence


class ContributionView(msgspec.Struct, frozen=True):
    """What one node gave to a job, by the head's history."""

    node: str  # name
    id: str
    samples: int
    steps: int
    examples: int
    updates_counted: int  # its own
    updates_waiting: int
    updates_late: int  # counted with an age of one round or more
    updates_refused: int
    share: float  # of all examples processed in counted updates, 0..1
    sent_bytes: int
    received_bytes: int = 0  # the models of the rounds that counted it, as they were sent
    refused_why: dict[str, int] = {}  # reason -> updates
    value: float | None = None  # of the held-out loss that it took away; < 0: it did harm; None: not known
    value_share: float | None = None  # value / the sum of all nodes' |value|, -1..1
    joules: float | None = None  # that its counted updates say; None: it does not know what it draws
    stood_in: int = 0  # updates that others trained on its shared samples in its place
    shared_bytes: int = 0  # of the samples that it shares with the job
    shared_held: bool = False  # the node that answers holds them


class ValuesView(msgspec.Struct, frozen=True):
    """The check of the nodes' values: what they add up to, against how far the held-out loss really fell."""

    rounds: int  # in the head's history, with updates in them
    valued: int  # of these; the figures below are of the valued ones
    predicted: float  # sum of all values
    drop: float  # of the mean held-out loss by the rounds' updates, as evaluated
    examples: int  # held-out samples
    common: bool  # the task's own evaluation set; else what the coordinators hold out of their own data


class PlanView(msgspec.Struct, frozen=True):
    """The round in progress. Nodes are given by name."""

    round: int
    assigned: list[str]
    arrived: list[str]
    age_s: float
    deadline_s: float
    why: str


class MetricView(msgspec.Struct, frozen=True):
    """What a job is judged by."""

    name: str
    best: str  # max | min
    exp: bool  # shown as exp(mean), such as a perplexity


class BudgetView(msgspec.Struct, frozen=True):
    """A limit of a job in time, bytes or energy, and what was spent of it."""

    resource: str  # seconds | bytes | joules
    spent: float  # up to the head
    limit: float
    node: str | None = None  # name of the node whose part this is; None: of all nodes together


class CommitView(msgspec.Struct, frozen=True):
    """A commit of a job's history. Nodes are given by name."""

    id: str
    parents: list[str]
    round: int
    coordinator: str  # name; "" for a merge
    counted: int  # updates folded by this commit
    nodes: list[str]  # whose, but for those that stood in for others
    age_s: float  # the job's age at which it was made
    accuracy: float | None  # as `figures` has it
    loss: float | None
    held: bool  # this node holds its parameters
    bytes: int = 0  # of its delta, or of the whole parameters where there is none; a merge has none
    bytes_total: int = 0  # sent by all nodes for the job up to here
    joules_total: float | None = None  # as the job's `joules`, up to here
    predicted: float | None = None  # the sum of its updates' values; None: not valued (yet)
    drop: float | None = None  # of the held-out loss by its updates, as evaluated
    figures: dict[str, float] = {}  # by metric; empty until measured
    stand_ins: list[str] = []  # nodes for which the rest of the updates stood in
    pruned_bytes: int | None = None  # of the model that it leaves, where it prunes


class JobSnapshot(msgspec.Struct, frozen=True):
    """A job that this node knows, with its history. Nodes are given by name."""

    id: str
    task: str
    asker: str
    state: str  # waiting | running | finished | stopped | failed
    why: str  # one sentence: what it is doing or waiting for
    round: int
    head: str
    coordinator: str
    accuracy: float | None  # as `figures` has it
    loss: float | None
    measured_examples: int
    age_s: float
    spent_bytes: int
    model_bytes: int  # of the whole model as a blob
    stop: dict[str, float | None]
    recipe: dict[str, float | str]
    plan: PlanView | None
    contributions: list[ContributionView]
    commits: list[CommitView]  # newest last, at most 200 (all with `log`)
    error: str | None = None
    sent: SentView = SentView()  # by this node for this job: payload and records
    values: ValuesView | None = None  # None before the first round
    waits: list[str] = []  # what it waits for, and who takes no part and why
    metrics: list[MetricView] = []  # the first is the headline
    figures: dict[str, float] = {}  # by metric: of the head, or the newest one measured after the first model
    target: str | None = None  # the metric that `stop` has a target for
    budgets: list[BudgetView] = []  # limits in time, bytes and energy; those of nodes that spent most first
    joules: float | None = None  # used by all nodes for it; None: none of them knows what it draws
    share: str = "none"  # whether nodes are asked for samples that stand in for them: none | auto | always
    adapts_for: list[str] | None = None  # nodes with a like need that take part; None: it is a job for all
    width: float = 1.0  # the fraction of the channels of the task's model that it began with

    @property
    def headline(self) -> str:
        """The name of the metric that it is judged by first."""
        return self.metrics[0].name if self.metrics else "accuracy"


class StoredJobView(msgspec.Struct, frozen=True):
    """A job that is not in a node's memory, as it was when it left it; whoever asks for it has it loaded."""

    id: str
    task: str
    asker: str  # name
    state: str  # waiting: there is no room for it | finished | stopped
    why: str
    round: int = 0
    rounds: int | None = None  # that it was to do
    metric: str = "accuracy"  # its headline
    figure: float | None = None
    age_s: float = 0.0
    spent_bytes: int = 0
    adapts: bool = False  # it was for nodes with a like need


class SharedView(msgspec.Struct, frozen=True):
    """What a node shared of its data with one job."""

    job: str
    task: str
    asker: str  # name
    kind: str  # samples | medoids | means | robust: only means tell of no single sample
    samples: int
    stands_for: int  # samples of the node
    bytes: int
    bits: int | None  # an input; None: not known any more
    at_s: float | None  # when, in seconds since 1970; None: before the node's disk was lost
    held: bool  # they are still on the node: the job goes on


class Snapshot(msgspec.Struct, frozen=True):
    """Everything: the answer to `snapshot`."""

    event: int  # number of the last event that this snapshot includes
    node: SelfView
    neighbours: list[NeighbourView]
    peers: list[PeerView]
    jobs: list[JobSnapshot]
    stored_jobs: int = 0  # jobs that are not in the node's memory


class NodeEvent(msgspec.Struct, frozen=True):
    """Something that happened, as a sentence. Numbers grow by one; a gap means that events were missed."""

    number: int
    time_s: float  # wall clock, for people only
    # job | offer | plan | training | update | commit | merge | wait | peer | link | energy | error | end
    kind: str
    text: str
    job: str = ""
    node: str = ""  # name of the node that it is about
