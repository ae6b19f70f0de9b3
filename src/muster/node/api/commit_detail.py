"""What `muster show`, `muster diff` and `muster log --why` print: values, sent as JSON; ids are hex."""

from __future__ import annotations

import msgspec

from muster.node.api.snapshot import CommitView


class CountedView(msgspec.Struct, frozen=True):
    """An update that a commit counted, and its weight in the aggregate."""

    node: str  # name
    incarnation: int
    sequence: int
    steps: int
    examples: int
    staleness: int
    weight: float
    value: float | None = None  # of the held-out loss that it took away (only of the commit that is shown)
    stands_for: list[str] = []  # names of the nodes in whose place it was trained; none: its own update


class DiscardedView(msgspec.Struct, frozen=True):
    """An update that a commit discarded."""

    node: str
    incarnation: int
    sequence: int
    reason: str


class CommitDetail(msgspec.Struct, frozen=True):
    """Everything that a commit says."""

    job: str
    task: str
    commit: CommitView
    children: list[str]
    head: bool  # nothing that this node holds replaces it
    counted: list[CountedView]  # by this commit itself
    counted_in_all: int  # updates, by the whole history up to here
    discarded: list[DiscardedView]
    roster: list[str]  # names, in rank order
    examples: int  # that the figures were measured on
    params: str | None  # id of the blob; of a merge only once it was computed here
    params_bytes: int
    delta_bytes: int | None
    delta_codec: str | None
    residual_norm: float


class WhyView(msgspec.Struct, frozen=True):
    """One message of a round: what its coordinator foresaw, and what came of it."""

    round: int
    node: str  # name; "" for the commit, which all nodes pull
    codec: str
    why: str
    bytes_forecast: int
    bytes: int | None
    seconds_forecast: float | None  # in both directions, without the node's steps; None: not measured
    seconds: float | None  # None: it did not come in its round
    waiting_forecast: float  # updates' worth of change that stays behind
    waiting: float | None
    steps: int = 0  # planned
    joules_forecast: float = 0.0  # 0: nothing is known
    joules: float | None = None


class RoundWhyView(msgspec.Struct, frozen=True):
    """A round as its coordinator planned it, and as it was; sums over all nodes."""

    round: int
    why: str  # the plan in a sentence: who does how much, what a round costs beside it, what binds
    seconds_forecast: float
    seconds: float | None  # None: it is not closed
    bytes_forecast: int
    bytes: int | None
    joules_forecast: float  # 0: nothing is known
    joules: float | None


class ForecastView(msgspec.Struct, frozen=True):
    """How far rounds were from their forecasts."""

    rounds: int
    usual: float  # median of the time that a round took over the expected one
    within: float  # the relative error that nine of ten rounds do not surpass
    sentence: str


class WhyAnswer(msgspec.Struct, frozen=True):
    """What `muster log --why` has of the rounds that a node coordinated, oldest first."""

    messages: list[WhyView]
    rounds: list[RoundWhyView]
    errors: ForecastView | None  # None: no round was closed yet


class MovedView(msgspec.Struct, frozen=True):
    """How far one tensor of b is from that of a."""

    name: str
    shape: list[int]
    norm_a: float  # Euclidean
    moved: float  # norm of b - a
    moved_max: float  # of the absolute difference


class DiffView(msgspec.Struct, frozen=True):
    """Two commits side by side. `only_a`: updates that the history of a counts, that of b does not."""

    a: CommitView
    b: CommitView
    same_job: bool
    only_a: list[CountedView]
    only_b: list[CountedView]
    layers: list[MovedView]
    pruned: bool = False  # they have other channels: `layers` are of those that both have
