"""Error feedback: what a message left out is added to the next one (Seide et al. 2014; Karimireddy et al.
2019, arXiv 1901.09847; both directions: Sattler et al. 2020, arXiv 1903.02891).  No momentum; fp32.

With c = fl32(delta + residual), m the message of c and r = fl32(c - decode(m)):  decode(m) + r equals c to
within half a unit in the last place of each element, and exactly where the element was not sent, was sent
exactly, or came within a factor of two.  What becomes of the message does not matter: nothing is put back.
The step itself is `model.encode_with_feedback`.
"""

from __future__ import annotations

import numpy as np

from muster.compression.codec import CodecError, Vector


def hand_over(uplink: Vector | None, downlink: Vector, share: float) -> Vector:
    """The uplink residual of a coordinator that hands over: fl32(uplink + fl32(downlink / share)).

    `share` (0, 1] is its part of a round's weight.  Its next updates then bring the downlink residual back in
    full, where they have that weight.  Raises CodecError.
    """
    if not 0.0 < share <= 1.0:
        raise CodecError(f"a node's share of a round is above 0 and at most 1, not {share}")
    if uplink is not None and uplink.shape != downlink.shape:
        raise CodecError(f"a residual of {downlink.size} elements does not fit one of {uplink.size}")
    with np.errstate(over="ignore", invalid="ignore"):
        total: Vector = np.float32(1.0 / share) * downlink
        if uplink is not None:
            total += uplink
    if not np.isfinite(total).all():
        raise CodecError("the residuals overflow together: training has diverged, lower the rate")
    return total


def norm(vector: Vector | None) -> float:
    """Euclidean norm in fp64, summed in blocks: the figure that a commit has of its residual."""
    if vector is None or not vector.size:
        return 0.0
    blocks = (vector[i : i + 65536].astype(np.float64) for i in range(0, vector.size, 65536))
    return float(np.sqrt(sum(float((block * block).sum()) for block in blocks)))
