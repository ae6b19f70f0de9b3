"""Interfaces that a node passes to its jobs: no globals, so that the simulation can pass its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from muster.job.adapting.budget import AskLimits
from muster.job.adapting.table import FieldTable
from muster.job.owner.allowance import Allowance, OwnerLimits
from muster.network.blobs.transfers import Transfers
from muster.network.change_signal import ChangeSignal
from muster.network.supervisor import Supervisor
from muster.network.sync.ledger import Ledger
from muster.network.sync.presence import Presence
from muster.protocol.ids import BlobId, JobId, NodeId
from muster.protocol.parts import Metric, Payload, Power
from muster.protocol.records import Shared
from muster.storage.offload import Compute, Offload
from muster.storage.store import StagedBlob, Store

if TYPE_CHECKING:  # numpy is imported with the first job, not by an idle daemon
    from muster.algorithms.slimming.structure import Structure
    from muster.compression.tensors import Layout

Arrays = Mapping[str, Any]


class Facts(Protocol):
    """The task as this node's trainer describes it."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def fingerprint(self) -> bytes: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def samples(self) -> int: ...
    @property
    def has_common(self) -> bool: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    @property
    def skipped(self) -> int: ...
    @property
    def steps_max(self) -> int | None: ...


@dataclass(frozen=True)
class Model:
    """A model of the store: its parameters, and which of the task's channels it keeps (as in `Commit`)."""

    blob: BlobId
    shape: bytes = b""


@dataclass(frozen=True)
class Weighted:
    """An update of a round: the weight that it had, its message, and the shape of the model that it was made
    on."""

    weight: float
    payload: Payload
    shape: bytes = b""


@dataclass(frozen=True)
class TrainingRequest:
    """Local training to be done: `steps` of SGD with heavy-ball `momentum`, on batches drawn from `seed`.

    With `samples` it trains on these coresets in the place of this node's own data, or beside it.
    """

    steps: int
    lr: float
    batch: int
    momentum: float
    seed: int
    round: int = 1  # of the job, from 1
    samples: tuple[tuple[BlobId, float], ...] = ()  # coresets, each with its weight; none: own data alone
    own_weight: float = 0.0  # of this node's own data among them; 0: they are left out
    cosine: bool = False  # the rate falls to 0 over the steps, along a half wave


@dataclass(frozen=True)
class TrainingResult:
    """A finished local training: `update` is w_after - w_before, tensor by tensor."""

    steps: int
    examples: int
    loss: float  # mean over the steps
    step_s: float  # seconds of one step
    update: Arrays
    skipped: int = 0  # samples with NaN that its batches left out


@dataclass(frozen=True)
class EvaluationResult:
    """A model's figures on `examples` samples, by name: the sum and what it was taken of."""

    examples: int
    figures: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class MadeSamples:
    """A coreset of a node's training data, written aside: `samples` of a `kind` (`Shared`), `bits` an input,
    that stand for `stands_for` samples of the node."""

    staged: StagedBlob
    kind: str
    samples: int
    stands_for: int
    bits: int


@dataclass(frozen=True)
class ContributionResult:
    """The value of each update of a round, in the order given, in units of the mean held-out loss;
    `before` - `after` is the drop by all together."""

    values: tuple[float, ...]
    before: float
    after: float
    examples: int  # 0: there is no such data, and nothing else is said


@dataclass(frozen=True)
class Difference:
    """What a task's fingerprint here and a job's differ in: a sentence with what to do.

    `in_frozen`: in nothing but what is not trained, so that the job's can be taken in its place.
    """

    sentence: str
    in_frozen: bool


class TrainerLike(Protocol):
    """The trainer child as the job sees it: a stored model in, an update and progress out.

    Raises ChildProcessError when the child died, MusterError when the task itself is at fault.
    """

    async def describe(self) -> Facts: ...

    async def fresh(self, seed: int) -> BlobId | None:
        """A new model's parameters, kept as a blob: the same for a seed wherever arithmetic is the same.

        None: this trainer cannot make one.
        """

    def work_for(self, job: JobId, share: float = 1.0, replay: int | None = None) -> None:
        """From now on requests are this job's: what of it stays on this node is kept for it, and they compute
        `share` of the time.

        A job that adapts to a change has `replay` old samples in each batch, and no common evaluation set:
        each node measures on its own.
        """

    async def differs(self, fingerprint: bytes) -> Difference:
        """What is not the same here as in a job with this fingerprint."""

    async def take_frozen(self, frozen: BlobId, fingerprint: bytes) -> Facts:
        """Have what the task does not train from a blob that is held, in place of this node's own.

        `fingerprint`: the task's with it.  The facts that hold from now on.
        """

    async def take_width(self, width: float) -> Facts:
        """Have models of a fraction of the channels from now on; 1: whole ones. The facts that hold then."""

    async def structure(self) -> Structure:
        """The groups of channels of the model as it is now, that can become smaller; perhaps none."""

    async def measure_speed(self, batch: int) -> float:
        """Seconds of one local step."""

    async def train(
        self, model: Model, request: TrainingRequest, progress: Callable[[float], None]
    ) -> TrainingResult:
        """Train on top of a stored model; `progress` gets the share that is done, 0..1."""

    async def evaluate(self, model: Model, which: str, limit: int | None = None) -> EvaluationResult:
        """The figures of a model on `which` held-out data, "common" or "own"; at most `limit` examples."""

    async def value(
        self, model: Model, updates: Sequence[Weighted], which: str, limit: int
    ) -> ContributionResult:
        """First-order Shapley values of `updates` on top of `model`."""

    async def share(
        self, bytes_max: int, means_only: bool, classes: Sequence[int] | None, seed: int
    ) -> MadeSamples | str:
        """A coreset of this node's training data in `bytes_max` at most, for others to train on; or why there
        is none, as a sentence's end.  `classes`: labels whose samples may travel; None: all."""

    async def check_samples(self, blob: BlobId, record: Shared) -> str:
        """What is wrong with shared samples that are held here, by their record and by this node's task; ""
        where nothing is."""

    async def close(self) -> None: ...


class Energy(Protocol):
    """What this node uses, and which job is charged with it (`node.energy.account`)."""

    def power(self, share: float = 1.0) -> Power | None:
        """What it draws where the trainer computes so much of the time; None: not known."""

    def computing(self, share: float = 1.0) -> AbstractContextManager[None]:
        """The trainer computes meanwhile, so much of the time."""

    def begin(self, job: JobId) -> None:
        """This node works for a job: what it uses from now on is due in the job's next update."""

    def due_mj(self, job: JobId) -> int:
        """Millijoules that the job's update is to say, if it is made now; 0 where nothing is known."""

    def charge(self, job: JobId, millijoules: int) -> None:
        """An update of the job that says so was kept."""


@dataclass(frozen=True)
class SharePolicy:
    """What of this node's data leaves it, in jobs that ask for it: "none", "means" or "samples"."""

    share: str = "none"
    bytes_max: int = 100_000  # that one job may have
    classes: Sequence[int] | None = None  # labels whose samples may travel; None: all


@dataclass(frozen=True)
class Policy:
    """What this node does for others' jobs, and how much disk it gives them."""

    accept: bool = True
    tasks: Sequence[str] | None = None  # None: all that are installed
    battery_min: float = 0.0
    disk_limit_bytes: int = 2_000_000_000
    relay: bool = True  # fetch for others, and carry updates to a coordinator that is not heard
    owner: OwnerLimits = OwnerLimits()  # noqa: RUF009 (frozen)
    share: SharePolicy = SharePolicy()
    adapt: bool = True  # take part in others' jobs for nodes with a like need
    asks: AskLimits = AskLimits()  # noqa: RUF009 (frozen)


@dataclass(frozen=True)
class Context:
    """The node that a job runs on, as the job sees it: what it may use and report to."""

    node: NodeId
    store: Store
    ledger: Ledger
    transfers: Transfers
    presence: Presence
    rate_bytes_s: Callable[[NodeId], float | None]  # the measured goodput of the link to a neighbour
    policy: Policy
    open_trainer: Callable[[str], Awaitable[TrainerLike]]
    installed: Callable[[str], bool]
    name_of: Callable[[NodeId], str]
    battery: Callable[[], float | None]
    energy: Energy
    allowance: Allowance  # what this node's owner lets others use
    field: FieldTable  # what each node needs and uses
    event: Callable[..., None]  # event(kind, text, job=..., node=...)
    set_status: Callable[[str, float, bytes, int], None]  # state, progress 0..1, job id, round
    publish_status_now: Callable[[], None]  # send this node's heartbeat to its neighbours at once
    supervisor: Supervisor  # of the loops of its jobs
    offload: Offload  # runs what takes long beside the event loop
    compute: Compute  # the same for arithmetic on models, by a model's bytes
    changes: ChangeSignal  # notified after every change that a job's loops may have to react to
    wall_s: Callable[[], float]  # what this node's clock on the wall shows, in seconds since 1970
    clock_time: Callable[[float], str]  # a loop time by this node's clock on the wall, such as 21:48:05

    def relays(self) -> bool:
        """Whether this node fetches and keeps what others want now."""
        return self.policy.relay and not self.policy.owner.metered and not self.allowance.bytes_given

    def trainer_share(self, asker: NodeId) -> float:
        """How much of the time the trainer computes in a job of this asker."""
        return 1.0 if asker == self.node else self.policy.owner.cpu_share

    def out(self, node: NodeId) -> bool:
        """Whether a node has no part in any job: it was revoked, or is this one and another process with its
        key goes on."""
        return self.ledger.trust.revoked(node) or (node == self.node and self.presence.cloned)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def progress_age_s(self, blob: BlobId) -> float | None:
        """Seconds since the last bytes of a blob came in; None when none have."""
        status = self.transfers.status(blob)
        if status is None or status.last_progress_s is None:
            return None
        return self.now() - status.last_progress_s
