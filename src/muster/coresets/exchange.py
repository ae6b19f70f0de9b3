"""What a node hands to others of its data as a coreset's message, and what it takes from them.

What is taken was made by somebody else: whatever its bytes are, they end in samples that this node's task
could have, or in a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.choose import choose
from muster.coresets.coding.codec import decode, encode
from muster.coresets.coding.error import CoresetError
from muster.coresets.coreset import Coreset, Space
from muster.coresets.kinds.centres import SAMPLES_MIN
from muster.protocol.validation.limits import SHARED_BYTES_MAX, SHARED_SAMPLES_MAX

_PARTS = (1.0, 0.9, 0.8)  # of the budget that are tried
FAR = 10.0  # ranges of this node's own data, beyond which no value of a sample can be


@dataclass(frozen=True, eq=False)
class Data:
    """A node's data as it can travel: inputs `x` (n, *shape) in fp32, targets `y` (n,), int64 where they are
    classes.  `of`: how many samples the node has, of which these are some."""

    x: NDArray[np.float32]
    y: NDArray[Any]
    space: Space
    of: int


@dataclass(frozen=True)
class Made:
    """A coreset's message, and what its record says of it."""

    message: bytes
    kind: str
    samples: int
    stands_for: int
    bits: int


def make(data: Data, bytes_max: int, means_only: bool, labels: Sequence[int] | None, seed: int) -> Made | str:
    """The coreset of data in `bytes_max` bytes at most, or why there is none, as the end of a sentence.

    `labels`: those whose samples may travel; None: all.
    """
    if labels is not None:
        if not data.space.classes:
            return "policy.share_classes names labels, and the targets of this task are numbers"
        may = np.isin(data.y, labels)
        data = Data(data.x[may], data.y[may], data.space, round(data.of * float(may.mean())))
    if not len(data.y):
        return "no sample has a label that policy.share_classes lets travel"
    try:
        for part in _PARTS:  # weights that stand for more samples may take more bytes
            coreset = _coreset(data, int(part * bytes_max), means_only, seed)
            message = encode(coreset) if len(coreset) else b""
            if len(message) <= bytes_max:
                break
    except CoresetError as error:
        return str(error)
    if not 0 < len(message) <= bytes_max:
        few = f"no class has the {SAMPLES_MIN} samples of a mean, or " if means_only else ""
        return f"{few}not one sample fits into {bytes_max} bytes"
    whole = round(float(coreset.weights.sum(dtype=np.float64)))
    stands_for = max(len(coreset), min(data.of, whole))
    return Made(message, coreset.kind, len(coreset), stands_for, coreset.bits)


def _coreset(data: Data, bytes_max: int, means_only: bool, seed: int) -> Coreset:
    """A coreset that also stands for the samples that are not in `data`."""
    rng = np.random.default_rng(seed)
    made = choose(data.x, data.y, bytes_max, data.space, means_only, rng)
    more = made.weights * np.float32(data.of / len(data.y))
    whole = bool((made.weights == np.rint(made.weights)).all())
    return replace(made, weights=np.maximum(np.rint(more), 1) if whole else more)


def read(data: Data, message: bytes) -> Coreset:
    """The coreset of another node, for one that has `data`. Raises CoresetError where its task cannot have
    such samples."""
    coreset = decode(message, data.space, samples_max=SHARED_SAMPLES_MAX, bytes_max=SHARED_BYTES_MAX)
    _check_range("inputs", coreset.inputs(), data.x)
    if not data.space.classes:
        _check_range("targets", coreset.labels, data.y)
    return coreset


def differs(coreset: Coreset, kind: str, samples: int) -> str:
    """What is wrong with a coreset of which its record says so much; "": nothing."""
    if (coreset.kind, len(coreset)) != (kind, samples):
        return f"its record says {samples} {kind}, and it holds {len(coreset)} {coreset.kind}"
    return ""


def _check_range(what: str, given: NDArray[Any], own: NDArray[Any]) -> None:
    """Raises CoresetError where values lie far outside of this node's own."""
    low, high = float(own.min()), float(own.max())
    room = FAR * max(high - low, 1.0)
    least, most = float(given.min()), float(given.max())
    if not (low - room <= least and most <= high + room):  # also where one is no number
        raise CoresetError(
            f"its {what} go from {least:.4g} to {most:.4g}, far outside of the {low:.4g} to {high:.4g} here"
        )
