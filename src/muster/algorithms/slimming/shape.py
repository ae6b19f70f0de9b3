"""Which channels of each group a smaller model keeps.

As bytes: the first 8 of the structure's digest, then a bit for each channel, group by group, the first one in
the highest bit; what is left of the last byte is zero.  So a shape can be read with its own structure only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from muster.algorithms.slimming.structure import CHANNELS_MAX, Structure, StructureError

SHAPE_BYTES_MAX = 8 + CHANNELS_MAX // 8


@dataclass(frozen=True)
class Shape:
    """The channels that each group of a structure keeps, in order; at least one of each."""

    kept: tuple[tuple[int, ...], ...]

    def mask(self, structure: Structure, group: int) -> NDArray[np.bool_]:
        """True for each channel of a group that is kept."""
        found = np.zeros(structure.groups[group].size, np.bool_)
        found[list(self.kept[group])] = True
        return found

    def within(self, other: Shape) -> bool:
        """Whether every channel is one of `other`'s."""
        return all(set(mine) <= set(theirs) for mine, theirs in zip(self.kept, other.kept, strict=True))

    def check(self, structure: Structure) -> None:
        """Raise StructureError unless this is a shape of `structure`."""
        if len(self.kept) != len(structure.groups):
            raise StructureError(f"the shape has {len(self.kept)} groups, the model {len(structure.groups)}")
        for channels, group in zip(self.kept, structure.groups, strict=True):
            rising = all(a < b for a, b in pairwise(channels))
            if not channels or not rising or channels[0] < 0 or channels[-1] >= group.size:
                raise StructureError("a shape keeps at least one channel of each group, in order")

    def to_bytes(self, structure: Structure) -> bytes:
        masks = [self.mask(structure, number) for number in range(len(structure.groups))]
        bits = np.concatenate(masks) if masks else np.zeros(0, np.bool_)
        return structure.digest + np.packbits(bits).tobytes()

    @staticmethod
    def from_bytes(structure: Structure, data: bytes) -> Shape:
        """Raises StructureError for bytes that are no shape of `structure`, or not as it writes them."""
        size = sum(group.size for group in structure.groups)
        if len(data) != len(structure.digest) + (size + 7) // 8:
            raise StructureError(f"a shape of {len(data)} bytes is not one of this model")
        if not data.startswith(structure.digest):
            raise StructureError("the groups of channels of this node's model are not those of the shape")
        bits = np.unpackbits(np.frombuffer(data, np.uint8, offset=len(structure.digest)))
        if bits[size:].any():
            raise StructureError("the shape has bits behind its last channel")
        ends = np.cumsum([group.size for group in structure.groups])[:-1]
        parts = np.split(bits[:size], ends) if structure.groups else []
        found = Shape(tuple(tuple(np.flatnonzero(part).tolist()) for part in parts))
        found.check(structure)
        return found


def whole(structure: Structure) -> Shape:
    """All channels."""
    return Shape(tuple(tuple(range(group.size)) for group in structure.groups))


def first(structure: Structure, width: float) -> Shape:
    """The first channels of each group."""
    return Shape(tuple(tuple(range(kept_of(group.size, width))) for group in structure.groups))


def kept_of(size: int, width: float) -> int:
    """How many of `size` channels a model of `width` (0 to 1) keeps: to the nearest, half a channel up."""
    if not 0 < width <= 1:
        raise ValueError(f"a width is above 0 and at most 1, not {width}")
    return max(1, math.floor(size * width + 0.5))
