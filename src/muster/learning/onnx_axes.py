"""Which axes of a model's inputs and outputs are free in its ONNX file, and what they are called.

The first axis is, wherever it is the batch's.  Of the others those are whose size differs between examples:
texts of several lengths, images of several sizes.  Axes that have the same sizes in every example are one,
and have one name: `length`, or after the tensor and the axis where there are several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]  # by a tensor's name
Axes: TypeAlias = dict[str, dict[int, str]]  # by a tensor's name: axis -> its name

BATCH, LENGTH = "batch", "length"


def free_axes(inputs: Sequence[Shapes], outputs: Sequence[Shapes]) -> Axes:
    """The free axes of tensors, by their shapes in each example. The first input shows the batch."""
    first = next(iter(inputs[0]))
    batch = tuple(example[first][0] for example in inputs)
    found: Axes = {}
    groups: dict[tuple[int, ...], str] = {}
    varying = [*_varying(inputs), *_varying(outputs)]
    given = {sizes for name, _, sizes in varying if name in inputs[0]}
    for name, axis, sizes in varying:
        alone = len(given) == 1 and sizes in given
        groups.setdefault(sizes, LENGTH if alone else f"{name}_{axis}")
        found.setdefault(name, {})[axis] = groups[sizes]
    for examples in (inputs, outputs):
        for name in examples[0]:
            if _sizes(examples, name, 0) == batch:
                found.setdefault(name, {})[0] = BATCH
    return found


def _varying(examples: Sequence[Shapes]) -> list[tuple[str, int, tuple[int, ...]]]:
    """(name, axis, its size in each example) of the axes behind the first whose size differs."""
    found = []
    for name, shape in examples[0].items():
        for axis in range(1, len(shape)):
            sizes = _sizes(examples, name, axis)
            if sizes is not None and len(set(sizes)) > 1:
                found.append((name, axis, sizes))
    return found


def _sizes(examples: Sequence[Shapes], name: str, axis: int) -> tuple[int, ...] | None:
    """None where an example lacks the tensor, or it has another number of axes there."""
    shapes = [example.get(name, ()) for example in examples]
    if len({len(shape) for shape in shapes}) > 1 or len(shapes[0]) <= axis:
        return None
    return tuple(shape[axis] for shape in shapes)
