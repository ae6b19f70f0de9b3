"""What `decide` may say that is due: one of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from muster.protocol.ids import CommitId, JobId


@dataclass(frozen=True)
class Wait:
    """Nothing can be done now. `why`: a sentence for people, "" when all is well; `labels`: how many more
    would change that; `until_s`: look again then, whatever happens."""

    why: str = ""
    labels: int = 0
    until_s: float | None = None


@dataclass(frozen=True)
class TellUse:
    """Publish what is in use, since when and why."""


@dataclass(frozen=True)
class TellNeed:
    """Publish that the model in use fails here, with a sketch of the conditions."""


@dataclass(frozen=True)
class EndNeed:
    """Publish that the need is met."""


@dataclass(frozen=True)
class Ask:
    """Ask for a job among the nodes that are alike; `alone`: none is in reach."""

    alone: bool


@dataclass(frozen=True)
class Check:
    """Compare a candidate with the model in use on this node's own held-out labels, and take it if it passes.

    `personal`: after fine-tuning it on this node's own samples. `merged`: the model in use is a part of it,
    and what else is in it was trained on labels of others, so it is taken unless it is surely worse here."""

    commit: CommitId
    job: JobId
    personal: bool = False
    merged: bool = False


@dataclass(frozen=True)
class Return:
    """The former model answers better: have it back."""

    e_value: float


Step: TypeAlias = Wait | TellUse | TellNeed | EndNeed | Ask | Check | Return
