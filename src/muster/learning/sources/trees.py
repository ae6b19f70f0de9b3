"""Batches as pytrees: tuples, lists and dicts with tensors as leaves, the samples along their first axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from muster.learning.faults import TaskFault

Tree: TypeAlias = Any


@dataclass(frozen=True)
class Batch:
    """`data` as a task's steps get it, of `count` samples. `rows`: their places in the source, if known."""

    data: Tree
    count: int
    rows: Sequence[int] | None = None


def mapped(tree: Tree, change: Callable[[Any], Any]) -> Tree:
    """`tree` with `change` applied to each leaf that is a tensor or an array."""
    if isinstance(tree, torch.Tensor | np.ndarray):
        return change(tree)
    if isinstance(tree, tuple | list):
        parts = [mapped(value, change) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if isinstance(tree, Mapping):  # last: it is slow to ask, and this is done in each step
        return {key: mapped(value, change) for key, value in tree.items()}
    return tree


def leaves(tree: Tree, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in a batch with their names: x and y of a pair, the keys of a dict."""
    if isinstance(tree, torch.Tensor):
        yield name or "the data", tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, f"{name}[{key!r}]" if name else str(key))
    elif isinstance(tree, tuple | list):
        pair = not name and len(tree) == 2
        for i, value in enumerate(tree):
            yield from leaves(value, "xy"[i] if pair else f"{name}[{i}]" if name else f"part {i}")


def count_of(tree: Tree) -> int:
    """The samples of a batch that a loader made: the first axis of its last tensor, or of its last list."""
    if isinstance(tree, torch.Tensor | np.ndarray):
        return len(tree) if tree.ndim else 1
    parts = list(tree.values()) if isinstance(tree, Mapping) else tree
    if not isinstance(parts, tuple | list) or not parts:
        return 1
    plain = [part for part in parts if isinstance(part, torch.Tensor | np.ndarray) and part.ndim]
    if plain:
        return len(plain[-1])  # the targets of a pair: its inputs may be packed
    return len(parts[-1]) if isinstance(parts[-1], tuple | list) else count_of(parts[-1])


def cut(tree: Tree, begin: int, end: int) -> Tree:
    """The samples begin..end of a batch, as views."""
    return mapped(tree, lambda leaf: leaf[begin:end])


def to_device(tree: Tree, device: torch.device) -> Tree:
    """The batch on `device`; arrays become tensors."""
    return mapped(tree, lambda leaf: torch.as_tensor(leaf).to(device))


def stacked(items: Sequence[Any]) -> Tree:
    """Samples of one structure as a batch; numbers, and lists of them, become tensors. Raises TaskFault."""
    first = items[0]
    try:
        if isinstance(first, torch.Tensor):
            return torch.stack(list(items))
        if isinstance(first, Mapping):
            return {key: stacked([item[key] for item in items]) for key in first}
        if isinstance(first, tuple):
            return tuple(stacked(list(parts)) for parts in zip(*items, strict=True))
        if isinstance(first, str | bytes) or first is None:
            return list(items)
        whole = np.asarray(items)
        if whole.dtype == np.float64 and not isinstance(first, np.ndarray | np.generic):
            whole = whole.astype(np.float32)  # Python's numbers: models take float32
        return torch.from_numpy(np.ascontiguousarray(whole))
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise TaskFault(
            f"samples do not go into one batch ({_short(error)}): return a function that makes a DataLoader"
            " with a collate_fn of your own"
        ) from error


def bad_rows(tree: Tree, *, nan_only: bool) -> dict[int, str]:
    """The samples of a batch that hold a value which is NaN (or, else, infinite), with the leaf's name."""
    found: dict[int, str] = {}
    for name, leaf in leaves(tree):
        if not (leaf.is_floating_point() or leaf.is_complex()) or leaf.numel() == 0 or leaf.ndim == 0:
            continue
        wrong = torch.isnan(leaf) if nan_only else ~torch.isfinite(leaf)
        if bool(wrong.any()):
            rows = wrong.reshape(len(wrong), -1).any(1).nonzero().flatten().tolist()
            found = {**dict.fromkeys(rows, name), **found}
    return found


def bytes_of(tree: Tree) -> int:
    return sum(leaf.numel() * leaf.element_size() for _, leaf in leaves(tree))


def shuffled(size: int, batch: int, seed: int) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """Endless batches of places 0..size-1, drawn without replacement, epoch after epoch.

    The few places that are left over at an epoch's end wait for the next one.
    """
    generator = torch.Generator().manual_seed(seed)
    each = min(batch, size)
    while True:
        order = torch.randperm(size, generator=generator).numpy()
        for begin in range(0, each * math.floor(size / each), each):
            yield order[begin : begin + each]


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]
