"""What the steps of a task do unless it says otherwise; targets.py has a table of losses and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import nn

from muster.learning.faults import TaskFault
from muster.learning.hooks import targets
from muster.learning.hooks.targets import Sums, TargetFacts
from muster.learning.sources.trees import count_of


class Task(Protocol):
    """What the defaults need of a task."""

    target_facts: TargetFacts | None

    def loss(self, output: Any, target: Any) -> torch.Tensor: ...

    def correct(self, output: Any, target: Any) -> int: ...

    def overrides(self, hook: str) -> bool: ...


def call_model(model: nn.Module, x: Any) -> Any:
    """The model's output: a tuple becomes its arguments, a dict its named ones."""
    if isinstance(x, torch.Tensor):
        return model(x)
    if isinstance(x, tuple | list):
        return model(*x)
    return model(**x) if isinstance(x, Mapping) else model(x)


def parted(batch: Any) -> tuple[Any, Any] | None:
    """(x, y) of a batch that is a pair, or a dict with a y; None: a dict without. Raises TaskFault."""
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    if isinstance(batch, Mapping):
        if "y" not in batch:
            return None
        rest = {key: value for key, value in batch.items() if key != "y"}
        return (rest["x"] if set(rest) == {"x"} else rest), batch["y"]
    parts = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
    raise TaskFault(f"a batch is (x, y) or a dict, not {parts}: write training_step() and validation_step()")


def training_step(task: Task, model: nn.Module, batch: Any) -> torch.Tensor:
    """The mean loss: of the model's output and y; of a dict without y the loss that the model returns."""
    pair = parted(batch)
    if pair is not None:
        return task.loss(call_model(model, pair[0]), pair[1])
    return _own_loss(model(**batch))


def validation_step(task: Task, model: nn.Module, batch: Any) -> Sums:
    """The figures of a batch, the headline first; the loss by the task's own loss() if it has one."""
    pair, facts = parted(batch), task.target_facts
    if pair is None:
        output = model(**batch)
        loss: torch.Tensor | None = _own_loss(output)
        y = batch.get("labels")
    else:
        output, y = call_model(model, pair[0]), pair[1]
        loss = task.loss(output, y) if task.overrides("loss") else None
    samples = count_of(batch)
    found: Sums = {}
    if task.overrides("correct") and pair is not None:
        right = float(task.correct(output, y))
        if not 0 <= right <= samples:
            raise TaskFault(
                f"correct() counted {right:g} right of {samples} samples: return (right, of how many) from"
                " validation_step() where other things than samples are counted"
            )
        found["accuracy"] = right, float(samples)
    try:
        usual = {} if y is None else targets.figures(output, y, facts)
    except TaskFault:
        if loss is None:
            raise
        usual = {}
    if loss is None:
        return {**found, **{name: sums for name, sums in usual.items() if name not in found}}
    if pair is None and "perplexity" in usual:  # the model shifts its labels: only its own loss is right
        usual = {"perplexity": (math.nan, usual["perplexity"][1])}
    count = usual["perplexity"][1] if "perplexity" in usual else float(samples)
    own = float(loss.detach()) * count, count
    found |= {name: sums for name, sums in usual.items() if name not in (*found, "loss")}
    if pair is None and "perplexity" in found:
        found["perplexity"] = own
    return {**found, "loss": own}


def _own_loss(output: Any) -> torch.Tensor:
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if not isinstance(found, torch.Tensor):
        raise TaskFault(
            "the model returned no loss for a batch that is a dict: return (x, y), give the dict a 'y', or"
            " write training_step()"
        )
    return found
