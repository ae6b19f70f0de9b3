"""What goes into a local set and comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Label = int | float  # the number of a class, or a value


@dataclass(frozen=True)
class Answered:
    """A sample that a model has answered, to be kept without a label."""

    key: str  # by which a label finds it: the newest sample of that key
    x: NDArray[Any]  # raw, one sample, as the client sent it
    answer: Label | None  # the class, or None where answers are no classes
    entropy: float | None
    version: str  # of the model that answered
    t: float | None = None  # unix s; None: now


@dataclass(frozen=True)
class Sample:
    """A sample of the set."""

    id: int
    key: str
    t: float  # unix s
    epoch: int
    x: NDArray[Any]
    label: Label | None
    answer: Label | None
    entropy: float | None
    version: str
    hold: bool = False  # drawn at random among uncertain ones, to be held out


class Labelled(NamedTuple):
    """Labelled samples of one shape, along the first axis, in the order in which they were labelled."""

    x: NDArray[Any]
    y: NDArray[Any]  # int64 classes, or float32 values
    ids: tuple[int, ...]


NONE = Labelled(np.zeros((0,), np.float32), np.zeros((0,), np.int64), ())


@dataclass(frozen=True)
class Snapshot:
    """What a job trains on, fixed at its start; nothing of `new` and `former` is ever held out."""

    job: str
    epoch: int  # the newest of that time
    new: Labelled  # labels of this epoch
    former: Labelled  # those of epochs before it
    held: Labelled  # of this epoch, by lot: to measure on


@dataclass(frozen=True)
class LocalCounts:
    """How much a set holds, and what its labels say of the models that answered."""

    unlabelled: int
    labelled: int
    held: int  # of the labelled: held out from training
    epoch: int  # grows by one with each alarm
    epoch_labelled: int  # samples of this epoch with a label, training and held out
    labels: int  # of this epoch, compared with a model's answer
    wrong: int  # of these: answered wrong
    labels_before: int  # the same of all epochs before
    wrong_before: int
    size_bytes: int  # of the samples
    epoch_held: int  # samples of this epoch that are held out
    epoch_newest: int  # samples of this epoch among the newest 100, with or without a label


@dataclass(frozen=True)
class Alarm:
    """Conditions changed, as a detector says."""

    t: float  # unix s
    epoch: int  # which it began
    z: float
    what: str
