"""Messages that no writer wrote: valid ones with bytes changed, cut, added or swapped, and noise."""

from __future__ import annotations

import numpy as np
from made_coresets import made

from muster.coresets.coding import CoresetError, decode, encode
from muster.coresets.coding.checks import check_coreset
from muster.coresets.coreset import Space

SAMPLES_MAX = 64
IMAGES = [(1, 4, 4), (5, 7), (3, 4, 5), (1, 1)]
TABLES = [(1,), (13,), (9, 3)]


def message(rng: np.random.Generator) -> tuple[bytes, Space]:
    """A coreset's bytes, and the space that they are of."""
    kind = ("image", "table")[int(rng.integers(2))]
    shapes = IMAGES if kind == "image" else TABLES
    coreset = made(
        kind,
        shapes[int(rng.integers(len(shapes)))],
        classes=(0, 1, 3, 10)[int(rng.integers(4))],
        count=int(rng.integers(1, 12)),
        bits=int(rng.integers(1, 9)),
        rng=rng,
        weights=("equal", "whole", "real", "by class")[int(rng.integers(4))],
        smooth=bool(rng.integers(2)),
        bounds=("unit", "pair", "columns")[int(rng.integers(3))],
    )
    return encode(coreset), coreset.space


def mangled(rng: np.random.Generator, data: bytes) -> bytes:
    """Mostly in its first bytes, where the header is."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(changed) if rng.integers(2) else min(16, len(changed)))) if changed else 0
        match int(rng.integers(6)):
            case 0:
                changed[at : at + 1] = bytes((int(rng.integers(256)),))
            case 1:
                changed[at : at + 1] = bytes((changed[at] ^ 1 << int(rng.integers(8)),)) if changed else b""
            case 2:
                del changed[at:]
            case 3:
                changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 4:
                changed[at : at + 5] = b"\xff\xff\xff\xff\x07"  # the largest numbers
            case _:
                changed = bytearray(rng.bytes(len(changed)))
    return bytes(changed)


def outcome(data: bytes, space: Space) -> str:
    """What decoding these bytes comes to: what is read can be written again."""
    try:
        read = decode(data, space, samples_max=SAMPLES_MAX)
    except CoresetError:
        return "coreset refused"
    check_coreset(read)
    assert len(read) <= SAMPLES_MAX
    assert np.isfinite(read.inputs()).all()
    return "coreset taken"
