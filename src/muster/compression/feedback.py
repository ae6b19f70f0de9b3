"""Error feedback: what a message left out is added to the next one (Seide et al. 2014; Karimireddy et al.
2019, arXiv 1901.09847; both directions: Sattler et al. 2020, arXiv 1903.02891).  No momentum; fp32.

With c = fl32(delta + residual), m the message of c and r = fl32(c - decode(m)):  decode(m) + r equals c to
within half a unit in the last place of each element, and exactly where the element was not sent, was sent
exactly, or came within a factor of two.  What becomes of the message does not matter: nothing is put back
(design 5.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from muster.compression.codec import Codec, CodecError, Vector
from muster.compression.families import decode


@dataclass(frozen=True)
class Sent:
    """What one step of error feedback yields."""

    message: bytes
    decoded: Vector  # what every receiver rebuilds
    residual: Vector  # to be carried to the next message


def apply(codec: Codec, delta: Vector, residual: Vector | None, seed: int | Sequence[int]) -> Sent:
    """Encode `delta` plus what is left from before (None: nothing yet). Raises CodecError."""
    wanted = delta if residual is None else add_weighted(delta, residual, 1.0)
    message = codec.encode(wanted, np.random.default_rng(seed))
    decoded = decode(message, wanted.size)
    return Sent(message, decoded, wanted - decoded)


def add_weighted(vector: Vector, other: Vector, weight: float) -> Vector:
    """fl32(vector + fl32(weight * other)), a new array.

    Raises CodecError where the sizes differ or the sum overflows.
    """
    if vector.shape != other.shape:
        raise CodecError(f"a residual of {other.size} elements does not fit a vector of {vector.size}")
    with np.errstate(over="ignore", invalid="ignore"):
        total = vector + other if weight == 1.0 else vector + np.float32(weight) * other
    if not np.isfinite(total).all():
        raise CodecError("residual and update overflow together: training has diverged, lower the rate")
    return total


def hand_over(uplink: Vector | None, downlink: Vector, share: float) -> Vector:
    """The uplink residual of a coordinator that hands over: its downlink residual divided by its share (0, 1]
    of a round's weight joins it, so that the next aggregates bring it back in full where its updates have
    that weight (design 5.5)."""
    if not 0.0 < share <= 1.0:
        raise CodecError(f"a node's share of a round is above 0 and at most 1, not {share}")
    return add_weighted(np.zeros_like(downlink) if uplink is None else uplink, downlink, 1.0 / share)


def norm(vector: Vector | None) -> float:
    """Euclidean norm in fp64, in blocks; what a commit says of its residual."""
    if vector is None or not vector.size:
        return 0.0
    blocks = (vector[i : i + 65536].astype(np.float64) for i in range(0, vector.size, 65536))
    return float(np.sqrt(sum(float((block * block).sum()) for block in blocks)))
