"""The loss and the figures that go with a kind of target, for tasks that say nothing of their own.

| kind | target | output | loss | figures, the headline first |
|---|---|---|---|---|
| classes | integers, n | n x C | cross-entropy | accuracy, loss |
| elements | integers, n x ... (pixels) | n x C x ... | cross-entropy | accuracy over elements, loss |
| tokens | integers, n x T | n x T x V or n x V x T | cross-entropy | perplexity, accuracy, loss |
| binary | 0 and 1 | one a sample | of the logit | accuracy (logit > 0), loss |
| labels | 0 and 1, n x L | n x L | of the logits | accuracy over labels, loss |
| numbers | any numbers | as the target | squared error | r2, mae, loss |

Targets of -100 (`ignore_index`) are never counted.  Of T = V the vocabulary is taken to be the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from muster.learning.faults import TaskFault
from muster.learning.sources.arrays import ArraySource
from muster.learning.sources.source import Source

IGNORED = -100
LOOKED_AT_MAX = 10_000_000  # numbers; of more targets, and of those that are not at hand, the first samples
FACTS_SAMPLES = 256
Sums = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class TargetFacts:
    """What one batch does not tell: whether all targets are 0 or 1, and their mean (for r2)."""

    zero_one: bool
    mean: torch.Tensor | None = None


def of(y: torch.Tensor) -> TargetFacts:
    """The facts of all targets, or of enough of them."""
    if y.numel() == 0 or y.is_complex():
        return TargetFacts(False)
    zero_one = bool(((y == 0) | (y == 1)).all())
    return TargetFacts(zero_one, None if zero_one else y.double().mean(0))


def of_source(source: Source) -> TargetFacts | None:
    """The facts of a source's targets; None where it has none that a default loss takes."""
    if isinstance(source, ArraySource):
        y = _targets(source.tree)
        if not isinstance(y, torch.Tensor):
            return None
        if y.numel() <= LOOKED_AT_MAX:
            return of(y if source.rows is None else y[torch.from_numpy(source.rows)])
    parts = [_targets(batch.data) for batch in source.once(FACTS_SAMPLES, FACTS_SAMPLES)]
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    if not tensors or len({tensor.shape[1:] for tensor in tensors}) != 1:
        return None
    return of(torch.cat(tensors))


def _targets(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return batch.get("y")
    return batch[1] if isinstance(batch, tuple | list) and len(batch) == 2 else None


def output_tensor(output: Any) -> torch.Tensor:
    """The tensor in a model's output: itself, or its `logits`. Raises TaskFault."""
    if isinstance(output, torch.Tensor):
        return output
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if not isinstance(found, torch.Tensor):
        raise TaskFault(
            f"the model's output is {type(output).__name__}: write loss(), or training_step() and"
            " validation_step()"
        )
    return found


@dataclass(frozen=True)
class Matched:
    """An output and its target in the shapes that the loss of their `kind` takes."""

    kind: str
    output: torch.Tensor
    target: torch.Tensor


def matched(output: Any, target: Any, facts: TargetFacts | None) -> Matched:
    """The kind of a target, and both in fitting shapes. Raises TaskFault when they do not fit."""
    output = output_tensor(output)
    if not isinstance(target, torch.Tensor):
        raise TaskFault(f"the targets are {type(target).__name__}: write loss() or training_step()")
    same = output.shape == target.shape
    if not same and output.ndim == target.ndim + 1 and output.shape[-1] == 1:
        if output.shape[:-1] == target.shape:
            output, same = output.squeeze(-1), True
    elif not same and target.ndim == output.ndim + 1 and target.shape[:-1] == output.shape:
        target, same = target.squeeze(-1), target.shape[-1] == 1
    if same:
        if (facts or of(target)).zero_one:
            return Matched("binary" if target.numel() == len(target) else "labels", output, target.float())
        return Matched("numbers", output, target.to(output.dtype))
    if not target.is_floating_point() and target.ndim == output.ndim - 1:
        kind = {1: "classes", 2: "tokens"}.get(target.ndim, "elements")
        last, second = output.shape[:-1] == target.shape, _without_axis_1(output) == target.shape
        if kind == "tokens" and last:
            return Matched(kind, output.movedim(-1, 1), target.long())
        if second:
            return Matched(kind, output, target.long())
        if last:
            return Matched(kind, output.movedim(-1, 1), target.long())
    raise TaskFault(
        f"the model's output has the shape {tuple(output.shape)} and the target {tuple(target.shape)}"
        f" ({str(target.dtype).removeprefix('torch.')}): these fit no default loss, write loss()"
    )


def _without_axis_1(output: torch.Tensor) -> torch.Size:
    return torch.Size((*output.shape[:1], *output.shape[2:]))


def loss(output: Any, target: Any, facts: TargetFacts | None = None) -> torch.Tensor:
    """The mean loss of a batch. Raises TaskFault."""
    m = matched(output, target, facts)
    if m.kind == "numbers":
        return functional.mse_loss(m.output, m.target)
    if m.kind in ("binary", "labels"):
        return functional.binary_cross_entropy_with_logits(m.output.float(), m.target)
    try:
        found = functional.cross_entropy(m.output, m.target, ignore_index=IGNORED)
    except (IndexError, RuntimeError):
        check_range(m)
        raise
    if math.isnan(found.item()) and bool((m.target == IGNORED).all()):
        return m.output.sum() * 0.0  # nothing is to be learnt from this batch
    return found


def check_range(m: Matched, where: str = "") -> None:
    """Raise TaskFault for class indices that the output does not have."""
    classes = m.output.shape[1]
    wrong = ((m.target < 0) | (m.target >= classes)) & (m.target != IGNORED)
    count = int(wrong.sum())
    if count:
        first = int(m.target[wrong][0])
        raise TaskFault(
            f"{count} of {m.target.numel()} labels{where} are out of range, such as {first}: the model has"
            f" {classes} outputs, so labels are 0 to {classes - 1}"
        )


def check_labels(source: ArraySource, output: Any, facts: TargetFacts | None, what: str) -> None:
    """Raise TaskFault for class indices among all of a source's targets that the output does not have."""
    y = _targets(source.tree)
    if not isinstance(y, torch.Tensor) or y.is_floating_point() or y.numel() > LOOKED_AT_MAX:
        return
    whole = y if source.rows is None else y[torch.from_numpy(source.rows)]
    m = matched(output, whole[: len(output_tensor(output))], facts)
    if m.kind in ("classes", "elements", "tokens"):
        check_range(Matched(m.kind, m.output, whole), f" of {what}()")


@torch.no_grad()
def figures(output: Any, target: Any, facts: TargetFacts | None = None) -> Sums:
    """The figures of a batch, name -> (sum, count), but those that count nothing. Raises TaskFault."""
    m = matched(output, target, facts)
    if m.kind == "numbers":
        return _of_numbers(m, facts)
    if m.kind in ("binary", "labels"):
        right = int(((m.output > 0) == (m.target > 0.5)).sum())
        mean = functional.binary_cross_entropy_with_logits(m.output.float(), m.target)
        count, samples = float(m.target.numel()), float(len(m.target))
        return {"accuracy": (float(right), count), "loss": (float(mean) * samples, samples)}
    counted = m.target != IGNORED
    count = float(counted.sum())
    if not count:
        return {}
    check_range(m)
    nll = float(functional.cross_entropy(m.output.float(), m.target, ignore_index=IGNORED)) * count
    right = int(((m.output.argmax(1) == m.target) & counted).sum())
    found = {"accuracy": (float(right), count), "loss": (nll, count)}
    return {"perplexity": (nll, count), **found} if m.kind == "tokens" else found


def _of_numbers(m: Matched, facts: TargetFacts | None) -> Sums:
    """r2 is against the mean of all of the node's targets where that is known, else against the batch's."""
    output, target = m.output.double(), m.target.double()
    samples = float(len(target))
    error = output - target
    mean = target.mean(0)
    if facts is not None and facts.mean is not None and facts.mean.numel() == mean.numel():
        mean = facts.mean.to(target.device).reshape(mean.shape)
    around, left = float((target - mean).square().sum()), float(error.square().sum())
    found = {} if around == 0.0 else {"r2": (around - left, around)}
    return {
        **found,
        "mae": (float(error.abs().mean()) * samples, samples),
        "loss": (float(error.square().mean()) * samples, samples),
    }
