"""The rows of the page: one struct for a row of each table, and for what stands in its fields.

The only place where their fields are defined.  The page's TypeScript types and docs/api-rows.md are generated
from this file (scripts/row_types.py); the comment at a field becomes its description there.  Names end in
units; `..._t` are instants (docs/api.md); shares, battery, accuracies and progress are 0..1.  Every field is
always there; None: not known, or not so.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from muster.node.api.snapshot import BudgetView, PowerView, ValuesView

Phase = Literal["wait", "receive", "train", "send", "in"]


class OfferRow(msgspec.Struct, frozen=True):
    """What a node offered for the job that is shown first."""

    samples: int
    step_s: float  # seconds a training step
    battery: float | None
    available_s: float | None  # how long it wants to take part


class LeftRow(msgspec.Struct, frozen=True):
    """What a node's owner lets others use yet of today; None: no limit."""

    bytes: int | None  # whole kB
    joules: float | None
    until_t: float | None  # when the hours end in which it works for others; known of the viewing node itself
    why: str  # it does nothing for others now


class SharedRow(msgspec.Struct, frozen=True):
    """What a node shared of its data with a job that the viewing node has in memory."""

    job: str
    kind: str  # samples, medoids, means or robust: only means tell of no single sample
    samples: int
    bytes: int


class NodePlanRow(msgspec.Struct, frozen=True):
    """A node's part in the round in progress."""

    round: int
    steps: int
    codec: str
    deadline_t: float | None


class TaskRow(msgspec.Struct, frozen=True):
    """A task that a node has opened since its start."""

    name: str
    version: str
    samples: int
    parameters: int
    error: str | None  # why it cannot be trained there


class ResourcesRow(msgspec.Struct, frozen=True):
    """What a node says of its own process."""

    version: str
    began_t: float  # when its process started
    memory_bytes: int  # resident
    disk_bytes: int  # of its store
    home: str
    pid: int
    listen: list[str]  # addresses


class SelfReport(msgspec.Struct, frozen=True):
    """What an emulated node says of itself now; its heartbeats take longer to arrive."""

    state: str
    progress: float


class EmulatedRow(msgspec.Struct, frozen=True):
    """What the emulator knows of a node."""

    address: str
    process: Literal["starting", "running", "paused", "ended"]
    away: bool  # its radio is off
    slowdown: float  # of its processor, 1: none
    says: SelfReport | None  # None: it does not answer


class NodeRow(msgspec.Struct, frozen=True):
    """A member of the fleet, as the viewing node knows it by its heartbeats."""

    id: str
    name: str
    key: str | None  # 64 hex digits
    me: bool  # the viewing node itself
    # idle, preparing, receiving, training, sending, coordinating, leaving, blocked (its disk is full), cloned
    # (another process uses its bundle), unknown (never heard); in an emulation also starting, away, paused,
    # gone (its process ended)
    state: str
    progress: float
    heard_t: float | None  # when its last heartbeat came; None of the viewing node itself: do not fade it
    reachable: bool  # in contact, perhaps over others
    battery: float | None
    power: PowerView | None  # of the viewing node as it is, else by its offer
    step_s: float | None  # seconds a training step, by its offer
    samples: int | None
    job: str | None  # that it works for
    round: int | None
    offer: OfferRow | None  # this and the next two: about the job that is shown first
    refusal: str | None  # why it does not take part
    plan: NodePlanRow | None
    resources: ResourcesRow | None  # of the viewing node; in an emulation of every node that answers
    tasks: list[TaskRow]  # as `resources`
    # as `resources`: a sentence for each loop that is not well or failed in the last ten minutes
    health: list[str] | None
    refused: int  # records of its making that the viewing node refused since it started: they cannot be
    cut_off: bool  # it made or sent so many that the viewing node does not hear it for some minutes
    shared: list[SharedRow]  # with whom it shared samples of its data
    left: LeftRow | None  # of others by their last answer to a job; None: no limit is known
    emulated: EmulatedRow | None  # None outside an emulation


class ServerRow(msgspec.Struct, frozen=True):
    """The server of a task on the viewing node, by what it said last."""

    url: str
    requests: int  # answered since it began
    failures: int  # answered with an error of the server or the model
    refused: int  # too many at once
    rps: float  # requests a second
    p99_ms: float | None
    memory_mb: int
    kept: int  # samples since it began
    fault: str  # why the model in use does not answer, or why no samples are kept; "": all is well


class FieldRow(msgspec.Struct, frozen=True):
    """A model in use: of the viewing node by its files, of others by what they said last (docs/field.md)."""

    node: str  # as in the table of nodes
    task: str
    version: str | None  # None: no model is in use
    commit: str | None  # None: the model is no commit, such as a file, or a fine-tuned one
    reason: str  # first, adopted, forced, returned or rolled back
    since_t: float | None  # when it went into use, as far as that is known
    former: str | None  # what was in use before
    live_labels: int  # that came since
    live_right: int  # of them
    held_labels: int  # held out; on which it was compared with the model before it
    wins: int  # of them: right by this model alone
    losses: int  # by the former one alone
    epoch: int | None  # conditions by their number, 0 at first
    labels: int | None  # of this epoch
    labels_wanted: int  # more, which would change something; known of the viewing node
    need: str  # "": none, "open": the model fails there, "met": a model was found
    alike: list[str]  # names of other nodes to which the same happened
    waits: str  # what the viewing node waits for, as a sentence
    job: str | None  # the adapt job that it waits for
    server: ServerRow | None  # of the viewing node, while its server runs


class LinkDirection(msgspec.Struct, frozen=True):
    """One direction of a link. Outside an emulation what the emulator would know is None."""

    up: bool
    rate_kbit_s: float | None
    delay_ms: float | None
    jitter_ms: float | None
    loss: float | None  # with `burst`: between bursts
    burst: bool  # loss comes in bursts, too
    bytes: int  # carried: counted at the emulator with headers, else the application's
    bytes_s: float  # mean of the last 3 s
    lost_frames: int | None


class DropRow(msgspec.Struct, frozen=True):
    """A link that is cut again and again."""

    every_s: float
    for_s: float
    first_s: float  # after it was set


class LinkRow(msgspec.Struct, frozen=True):
    """A link: all of an emulated network; else those of the viewing node, which is then `a`."""

    id: str
    a: str
    b: str
    emulated: bool
    up: bool  # in both directions
    # (1 - loss)^4 * 200 / (200 + delay_ms) of the worse direction (outside an emulation: delay = half of
    # `rtt_s`, no loss), 0 when down; above 0.6 good, above 0.3 fair, else poor
    quality: float | None
    rtt_s: float | None  # this and the next: measured, of the viewing node's links
    goodput_bytes_s: float | None
    up_t: float  # since when it is up
    preset: str | None  # set last, until a parameter is changed by hand
    drop: DropRow | None
    there: LinkDirection  # a to b
    back: LinkDirection  # b to a


class StopRow(msgspec.Struct, frozen=True):
    """When a job ends: at the first of these."""

    rounds: int | None
    target: float | None
    metric: str | None  # that the target is of
    stale: int | None  # rounds in a row in which the first metric got no better
    seconds: float | None
    bytes: int | None  # sent by all nodes
    bytes_node: int | None  # by any one node: who has spent it is asked for no more
    joules: float | None  # used by all nodes
    joules_node: float | None


class JobRow(msgspec.Struct, frozen=True):
    """A job that the viewing node knows."""

    id: str
    task: str
    asker: str  # node
    adapts_for: list[str] | None  # nodes with a like need that take part; null: it is a job for all
    state: str  # waiting, running, finished, stopped, failed
    why: str  # one sentence: what it is doing or waiting for
    round: int  # of the head
    head: str  # commit; "" before the starting parameters are there
    heads: list[str]  # all that this node knows: several while the network is divided
    coordinator: str | None  # node
    metrics: dict[str, str]  # name -> max or min; the first is what the job is judged by
    figures: dict[str, float]  # of the head, by metric; empty until measured
    measured_examples: int
    began_t: float | None  # by the job's own age
    age_s: float  # at the head
    spent_bytes: int  # sent by all nodes for it
    budgets: list[BudgetView]  # what is limited; of nodes those that spent most first
    joules: float | None  # used by all nodes for it; None: none of them knows what it draws
    model_bytes: int
    stop: StopRow
    recipe: dict[str, float | str]  # lr, batch, steps, codec, ...
    values: ValuesView | None  # None before the first round
    waits: list[str]  # what it waits for, and who takes no part and why
    error: str | None


class RoundPart(msgspec.Struct, frozen=True):
    """One node's part in the round in progress."""

    phase: Phase  # wait: nothing says that it has begun; in: its update has arrived
    progress: float  # of the phase
    steps: int
    codec: str
    expected_t: float | None  # when its steps are done, by measured speed


class StandInPart(msgspec.Struct, frozen=True):
    """What is trained in the round in progress in the place of a node that misses it."""

    trainer: str  # node
    phase: Phase
    progress: float  # of the phase
    steps: int


class RoundRow(msgspec.Struct, frozen=True):
    """The round in progress of a running job; absent between rounds."""

    job: str
    round: int
    parent: str  # commit
    coordinator: str  # node
    begun_t: float
    deadline_t: float
    expected_t: float | None  # the latest of those still out
    arrived: int  # updates
    why: str  # the plan in a sentence
    nodes: dict[str, RoundPart]
    stand_ins: dict[str, StandInPart]  # by the node that misses the round


class CommitRow(msgspec.Struct, frozen=True):
    """A commit of a job's history; the newest 5000 of a job are kept."""

    id: str
    job: str
    parents: list[str]  # none: the root; two: a merge; older ones may be missing
    round: int
    merge: bool
    coordinator: str | None  # node; None for a merge
    counted: int  # updates folded in by this commit
    nodes: list[str]  # whose, at most 16, but for those that stood in for others
    stand_ins: list[str]  # nodes for which the rest of the updates stood in, at most 16
    age_s: float  # the job's age
    bytes: int  # that a node at the parent downloads
    model_bytes: int | None  # of the whole model, uncompressed; None of a merge
    bytes_total: int  # sent by all nodes for the job up to here
    joules: float | None  # as in the job's row, up to here
    discarded: int  # updates
    figures: dict[str, float]  # by metric; empty until measured
    held: bool  # the viewing node holds its parameters
    predicted: float | None  # sum of the values of this round's updates
    drop: float | None  # of the held-out loss by them, as evaluated


class ContributionRow(msgspec.Struct, frozen=True):
    """What one node gave to a job, by the head's history."""

    id: str
    job: str
    node: str
    samples: int
    steps: int  # in counted updates
    examples: int
    counted: int  # updates of its own
    stood_in: int  # updates that others trained on its shared samples in its place
    waiting: int  # updates that no commit has counted yet
    late: int  # counted with an age of one round or more (part of `counted`)
    refused: int
    reasons: dict[str, int]  # of the refused
    share: float  # of all examples in counted updates
    sent_bytes: int  # of its updates
    received_bytes: int  # of models that it got in the rounds that counted it
    joules: float | None  # that its counted updates say; None: it does not know what it draws
    # first-order Shapley value on held-out data over all rounds so far: nats of loss that its updates took
    # away (negative: harm)
    value: float | None
    value_share: float | None  # of the sum of all nodes' absolute values, -1..1


class MarkRow(msgspec.Struct, frozen=True):
    """Something that happened, for the curves; the newest 500."""

    id: str
    # cut, heal, partition, link, leave, join, kill, pause, resume, restart, handover, merge; use, unuse: a
    # model of the job went into use, or out of it again
    kind: str
    t: float
    job: str | None
    age_s: float | None  # of the job then
    nodes: list[str]
    text: str


class LogLine(msgspec.Struct, frozen=True):
    """A line of the log; the newest 500, oldest first."""

    n: int  # grows by one
    t: float
    # job, offer, plan, training, update, commit, merge, wait, peer, link, energy, fault, error, end, page
    kind: str
    text: str
    node: str | None
    job: str | None
