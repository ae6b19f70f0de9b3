"""A model's groups of channels, as plain data: what has to go together when a channel goes.

A channel of a convolution or a unit of a linear layer is one index on several axes: its own filter and bias,
its place in the statistics that follow, and what every layer that reads it has for it.  A `Group` is a number
of such channels, with a `Slot` for each of those axes.  `learning/slimming/` finds the groups of a module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

from muster.compression.tensors import Layout

CHANNELS_MAX = 65_536  # of all groups together: a shape has a bit for each, and travels in a record
SLOTS_MAX = 65_536


class StructureError(ValueError):
    """A structure or a shape that cannot be; the message is one sentence for people."""


@dataclass(frozen=True)
class Slot:
    """One axis of a tensor: channel c has the `block` indices from start + c * block on.

    A linear layer behind a flattened image of 7 x 7 has a block of 49; one that reads two concatenated groups
    has two slots on one axis.
    """

    tensor: str
    axis: int
    block: int = 1
    start: int = 0

    def end(self, size: int) -> int:
        """The index behind the last channel of a group of `size`."""
        return self.start + size * self.block


@dataclass(frozen=True)
class Group:
    """`size` channels, each of which goes from all of the slots or from none."""

    size: int
    slots: tuple[Slot, ...]


Placed: TypeAlias = tuple[int, Slot]  # the number of a group, and one of its slots


@dataclass(frozen=True)
class Structure:
    """All groups of a model that can become smaller; axes in none of them stay whole."""

    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        if sum(group.size for group in self.groups) > CHANNELS_MAX:
            raise StructureError(f"the groups have more than {CHANNELS_MAX} channels together")
        if sum(len(group.slots) for group in self.groups) > SLOTS_MAX:
            raise StructureError(f"the groups have more than {SLOTS_MAX} slots together")
        for group in self.groups:
            if group.size < 1 or not group.slots:
                raise StructureError("a group has at least one channel and one slot")
            if any(slot.axis < 0 or slot.block < 1 or slot.start < 0 for slot in group.slots):
                raise StructureError("a slot has an axis and a start from 0, and a block from 1")
        for tensor, axes in self.axes.items():
            for axis, placed in axes.items():
                ends = [(slot.start, slot.end(self.groups[number].size)) for number, slot in placed]
                if any(after[0] < before[1] for before, after in pairwise(ends)):
                    raise StructureError(f"two groups have the same index on axis {axis} of {tensor!r}")

    @cached_property
    def axes(self) -> Mapping[str, Mapping[int, list[Placed]]]:
        """tensor -> axis -> the slots on it, by their start."""
        found: dict[str, dict[int, list[Placed]]] = {}
        for number, group in enumerate(self.groups):
            for slot in group.slots:
                found.setdefault(slot.tensor, {}).setdefault(slot.axis, []).append((number, slot))
        for axes in found.values():
            for placed in axes.values():
                placed.sort(key=lambda item: item[1].start)
        return found

    @cached_property
    def digest(self) -> bytes:
        """8 bytes that two structures share only if they are equal."""
        text = json.dumps(self.to_plain(), separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(b"muster-structure\x01" + text.encode()).digest()[:8]

    def fits(self, layout: Layout) -> bool:
        """Whether every slot is an axis of one of the layout's tensors, and within it."""
        for tensor, axes in self.axes.items():
            spec = layout.by_name.get(tensor)
            for axis, placed in axes.items():
                number, last = placed[-1]
                if spec is None or axis >= len(spec.shape):
                    return False
                if last.end(self.groups[number].size) > spec.shape[axis]:
                    return False
        return True

    def to_plain(self) -> list[Any]:
        """Lists, strings and integers only, for MessagePack or JSON; `from_plain` reads it back."""
        return [[g.size, [[s.tensor, s.axis, s.block, s.start] for s in g.slots]] for g in self.groups]

    @staticmethod
    def from_plain(plain: Any) -> Structure:
        try:
            return Structure(
                tuple(
                    Group(int(size), tuple(Slot(str(t), int(a), int(b), int(s)) for t, a, b, s in slots))
                    for size, slots in plain
                )
            )
        except (TypeError, ValueError) as error:
            if isinstance(error, StructureError):
                raise
            raise StructureError(f"this is no structure of a model: {error}") from error
