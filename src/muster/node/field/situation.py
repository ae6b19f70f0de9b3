"""What is known of a served task at one moment, as values: the input of `decide`.

Instants are seconds of this node's own wall clock; they are compared with each other on this node only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from muster.protocol.ids import CommitId, JobId, NodeId

Gate = Literal["better", "not_worse"]
Rule = Gate | Literal["merged"]


@dataclass(frozen=True)
class Settings:
    """What the node's owner said of the task ([tasks.NAME.serve])."""

    auto: bool = True  # ask for jobs and take candidates without a person
    gate: Gate = "better"
    personal: bool = False  # also try the result after fine-tuning on this node's own samples
    settle_s: float = 60.0  # between a need and a job, in which others with the same need are heard


@dataclass(frozen=True)
class InUse:
    """The model in use, by the pointer and what was kept beside it."""

    version: str
    commit: CommitId  # b"": a model that is no commit, such as a file or a fine-tuned one
    reason: str  # "first", "adopted", "forced", "returned", "rolled back"
    since_s: float
    former: str | None = None  # the version that answers in its shadow
    former_commit: CommitId = b""


@dataclass(frozen=True)
class Labels:
    """Labels that tell of the model in use as conditions are now, and of those before."""

    epoch: int = 0  # conditions by their number; 0: no alarm yet
    alarm: str = ""  # what raised the alarm of this epoch; "": none did
    judged: int = 0  # labels of this epoch that the model in use answered
    wrong: int = 0  # of them
    before: int = 0  # the same of the epoch before
    wrong_before: int = 0
    accuracy: float | None = None  # of the model when it was made; None: not known
    labelled: int = 0  # labels of this epoch, whichever model answered
    held: int = 0  # of them, held out for checks
    samples: int = 0  # of this epoch, from which a sketch can be made


@dataclass(frozen=True)
class Live:
    """How the model in use and the former one answered the labels that came since the swap."""

    labels: int = 0
    right: int = 0
    only_used: int = 0  # labels that the model in use alone has right
    only_former: int = 0


@dataclass(frozen=True)
class OwnNeed:
    """The newest need that this node published."""

    epoch: int
    number: int
    published_s: float
    over: bool
    sketch: bytes
    sketch_samples: int


@dataclass(frozen=True)
class LikeNode:
    """Another node to which the same happened: its newest need is open and its sketch is near."""

    node: NodeId
    name: str
    distance: float


@dataclass(frozen=True)
class LikeJob:
    """An adapt job that concerns this node. `result`: its closing commit, once it is over."""

    job: JobId
    asker: str
    own: bool  # asked for by this node
    over: bool
    result: CommitId | None = None
    reused: bool = False  # it ended before this node had its need
    merged: bool = False  # it counts all that the model in use counts, of the same job, and more: a merge


@dataclass(frozen=True)
class Judged:
    """What became of a candidate here."""

    commit: CommitId
    personal: bool
    accepted: bool
    epoch: int
    labelled: int  # labels of the epoch when it was checked
    held: int  # of them, on which it was compared; 0: it could not be
    said: str  # a sentence for people


@dataclass(frozen=True)
class Fault:
    """What kept a step from being done, and when it is tried again."""

    about: str  # as `decide.about` names the step
    said: str
    again_s: float


@dataclass(frozen=True)
class Situation:
    """All of it."""

    now_s: float
    node: NodeId
    settings: Settings = Settings()
    in_use: InUse | None = None
    use_said: bool = True  # the newest own `Use` says what the pointer says
    said_live: int = 0  # live labels that it speaks of
    labels: Labels = Labels()
    live: Live = Live()
    sketches: bool = True  # the model in use has a graph that makes sketches
    need: OwnNeed | None = None
    like: tuple[LikeNode, ...] = ()  # in reach
    jobs: tuple[LikeJob, ...] = ()  # newest last
    returned: frozenset[CommitId] = frozenset()  # put out again here, or by a node that is alike
    judged: tuple[Judged, ...] = ()  # newest last
    no_ask: str = ""  # why the owner's budget lets this node ask for no job now
    foreign: str = ""  # the model in use is not of the task that is installed here: what to do
    faults: tuple[Fault, ...] = field(default=())
