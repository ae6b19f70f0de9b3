"""What a simulated world is made of, as values; and the faults that only a simulation can make."""

from __future__ import annotations

import struct
from typing import Literal, TypeAlias

import msgspec

from muster.protocol.parts import Power, Prune
from muster.simulation import faults as f
from muster.simulation.faults import _Fault
from muster.simulation.virtual.network import Timing
from muster.simulation.virtual.pipe import PathParams

Unwilling: TypeAlias = Literal["", "policy", "battery", "not_installed", "other_version"]


class LoseDisk(_Fault, frozen=True, tag="lose_disk"):
    """The node dies and comes back after `after_s` with an empty disk."""

    node: str
    after_s: float = 30.0


class CrashTrainer(_Fault, frozen=True, tag="crash_trainer"):
    """The trainer child dies."""

    node: str


class KillAtWrite(_Fault, frozen=True, tag="kill_at_write"):
    """The node dies at its `writes`-th write from now, and starts again `after_s` later."""

    node: str
    writes: int
    after_s: float = 20.0


class Stall(_Fault, frozen=True, tag="stall"):
    """The node's process does nothing for `stall_s`; its links stay up, and what comes waits."""

    node: str
    stall_s: float


class Misfire(_Fault, frozen=True, tag="misfire"):
    """The node's `writes`-th write from now raises what nobody expects (`mortal_store.Unexpected`)."""

    node: str
    writes: int


class BitRot(_Fault, frozen=True, tag="bit_rot"):
    """The node dies; bits of a model on its disk change that another node has, too; it starts again."""

    node: str
    after_s: float


class Poison(_Fault, frozen=True, tag="poison"):
    """A record that cannot be, signed by the node, lies on its disk and is announced to its neighbours."""

    node: str
    number: int  # draws the record


class Flood(_Fault, frozen=True, tag="flood"):
    """The node sends each neighbour so many announcements that nobody can use, ten a second: junk, or
    `records` that cannot be, which it signed."""

    node: str
    messages: int
    records: bool = False


class ChangeAddress(_Fault, frozen=True, tag="change_address"):
    """The node gets another address and opens a new session: it knows that its links are gone, its neighbours
    do not until they have new ones; questions and answers in flight are lost."""

    node: str


class Revoke(_Fault, frozen=True, tag="revoke"):
    """The fleet's owner, at the node `by`, puts `node` out of the fleet, which goes on as whoever has its key
    likes; `distrust`: nothing of what it made last is named as standing."""

    node: str
    by: str
    distrust: bool = False


class Clone(_Fault, frozen=True, tag="clone"):
    """Another process with a copy of the node's home is heard of at the node `at`, and takes part in nothing.
    Whoever has the node ends its process when that says that it acts no more; it starts when all heals."""

    node: str
    at: str


class StopJob(_Fault, frozen=True, tag="stop_job"):
    """A user at this node ends the jobs that it knows."""

    node: str


class Bury(_Fault, frozen=True, tag="bury"):
    """The node dies for good: neither process nor disk comes back."""

    node: str


WorldFault: TypeAlias = (
    f.Fault
    | LoseDisk
    | CrashTrainer
    | KillAtWrite
    | Stall
    | Misfire
    | BitRot
    | Poison
    | Flood
    | ChangeAddress
    | StopJob
    | Revoke
    | Clone
    | Bury
)
ENDINGS = (f.Heal, f.Return, f.Resume)  # not faults themselves: an earlier one is over


class MachineSpec(msgspec.Struct, frozen=True):
    """One simulated device."""

    name: str
    samples: int
    step_s: float
    starts_s: float = 0.0
    unwilling: Unwilling = ""  # why it takes no part; it relays all the same
    disk_limit_bytes: int = 2_000_000_000
    power: Power | None = None  # what it draws; None: it does not know
    bytes_per_day: int | None = None  # that its owner lets others use; None: no limit
    share: str = "none"  # what of its data may leave it: "none", "means" or "samples"
    sketch: float | None = None  # how its inputs changed, which makes a need; None: they did not
    need_at_s: float = 0.0  # when that is known
    met_at_s: float | None = None  # when something else than a job meets its need; None: nothing does
    returns: bool = False  # what it adopts turns out to be wrong there
    later_from: int | None = None  # the life from which it runs the next version; None: it never does
    adapts: bool = True  # its policy lets it train with nodes to which the same happened


class WireSpec(msgspec.Struct, frozen=True):
    a: str
    b: str
    params: PathParams


class TaskSpec(msgspec.Struct, frozen=True):
    """What is trained: the exact linear stand-in, or a real softmax regression that is tiny."""

    kind: Literal["linear", "tiny"] = "linear"
    weights: int = 300  # of the stand-in
    common: bool = True  # there is an evaluation set that every node has
    per_channel: int = 1  # weights of the stand-in: a channel is what pruning takes or leaves


class JobSpec(msgspec.Struct, frozen=True):
    asker: str
    at_s: float
    rounds: int | None
    seconds: float | None
    steps: int
    lr: float
    patience_s: float
    min_nodes: int
    codec: str
    down_codec: str
    average: int = 1
    server_momentum: float = 0.0
    target: float | None = None  # of the first metric
    linger_s: float | None = None  # of the last round; None: by default
    back: float | None = None  # begin at a commit of the job before: 0 its root .. 1 its newest (`--from`)
    stale: int | None = None  # rounds in which the first metric got no better
    by_loss: bool = False  # the first metric is the loss, not the accuracy
    prune: Prune | None = None
    planned: bool = False  # steps and round momentum are the planner's, not those above
    share: str = (
        "none"  # whether nodes are asked for samples that stand in for them: "none", "auto", "always"
    )
    one_shot: int = 0  # steps on all shared samples together in the first round; 0: none is made
    adapts: bool = False  # it is for nodes whose need is like the asker's


class WorldSpec(msgspec.Struct, frozen=True):
    """What a world is made of."""

    seed: int
    nodes: tuple[MachineSpec, ...]
    links: tuple[WireSpec, ...]
    task: TaskSpec
    jobs: tuple[JobSpec, ...]
    timing: Timing = Timing()
    heavy_s: float = 0.0  # that encoding, adding up or hashing takes at most, beside a node's loop
    midnight_s: float | None = None  # when a day begins; None: not while it goes on


FEATURES = 49  # of a sketch


def sketch_of(level: float) -> bytes:
    """The sketch of a node whose inputs are so far from what they were; of near levels they are alike."""
    return struct.pack(f"<{FEATURES}e", *[level] * FEATURES)


def describe(fault: WorldFault) -> str:
    """One line for the story."""
    fields = {k: v for k, v in msgspec.to_builtins(fault).items() if k != "fault" and v is not None}
    return f"{type(fault).__name__} " + " ".join(f"{k}={v}" for k, v in fields.items())
