"""A client's work as `init`, `step`, `final`: local SGD on one node's data, and evaluation.

Local SGD with heavy-ball momentum from zero (McMahan et al., AISTATS 2017, arXiv 1602.05629): batches are
drawn without replacement, epoch after epoch.  Everything follows from (parameters, data, recipe, seed); the
caller sets the number of threads, measures time and may stop between steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.sgd import sgd as sgd_update

from muster.learning.task import Task

EVALUATION_BATCH = 500


class TaskFault(Exception):
    """What a task's own code does cannot be trained; the message is one sentence for people."""


@dataclass(frozen=True)
class Data:
    """Samples (n x ...) and targets (n ...), on the CPU."""

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.x)

    def at(self, index: Any) -> Data:
        chosen = torch.as_tensor(np.asarray(index), dtype=torch.int64)
        return Data(self.x[chosen], self.y[chosen])


def as_data(pair: Any, what: str) -> Data:
    """A task's (x, y) as tensors. Raises TaskFault."""
    try:
        x, y = pair
        data = Data(torch.as_tensor(x), torch.as_tensor(y))
    except (TypeError, ValueError) as error:
        raise TaskFault(f"{what}() must return (x, y), tensors or arrays: {error}") from error
    if data.x.ndim == 0 or data.y.ndim == 0 or len(data.x) != len(data.y):
        raise TaskFault(
            f"{what}() returned x of shape {tuple(data.x.shape)} and y of shape {tuple(data.y.shape)}:"
            " both need the samples along the first axis"
        )
    return data


@dataclass
class Sgd:
    """What `torch.optim.SGD` does, by the function that it calls: making the class imports torch's compiler,
    a second of a fast core and 80 MB for every trainer."""

    parameters: list[nn.Parameter]
    lr: float
    momentum: float
    velocity: list[torch.Tensor | None]

    def clear(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """In place; a parameter that has no gradient stays as it is."""
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        gradients = [gradient for i in moved if (gradient := self.parameters[i].grad) is not None]
        velocity = [self.velocity[i] for i in moved]
        sgd_update(
            [self.parameters[i] for i in moved], gradients, velocity, foreach=True,
            has_sparse_grad=any(gradient.is_sparse for gradient in gradients), lr=self.lr,
            momentum=self.momentum, weight_decay=0.0, dampening=0.0, nesterov=False, maximize=False,
        )  # fmt: skip
        for i, tensor in zip(moved, velocity, strict=True):
            self.velocity[i] = tensor


@dataclass
class LocalTraining:
    """Local training under way."""

    task: Task
    model: nn.Module
    data: Data
    descent: Sgd
    batch: int
    generator: torch.Generator
    order: torch.Tensor
    position: int = 0
    steps: int = 0
    examples: int = 0
    loss_sum: float = 0.0


@dataclass(frozen=True)
class TrainingSummary:
    """`loss` is the mean over the steps done."""

    steps: int
    examples: int
    loss: float


def init(
    task: Task, model: nn.Module, data: Data, *, lr: float, batch: int, momentum: float, seed: int
) -> LocalTraining:
    """Ready for the first step; seeds torch's global generator too, for dropout and the like."""
    if len(data) == 0:
        raise TaskFault("training_data() returned no samples")
    torch.manual_seed(seed)
    model.train()
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise TaskFault("model() has no parameter that can be trained")
    descent = Sgd(parameters, lr, momentum, [None] * len(parameters))
    order = torch.randperm(len(data), generator=generator)
    return LocalTraining(task, model, data, descent, min(batch, len(data)), generator, order)


def step(work: LocalTraining) -> float:
    """One batch forth and back; its loss. Raises TaskFault when that is not finite."""
    if work.position + work.batch > len(work.order):  # the few samples left over wait for the next epoch
        work.order = torch.randperm(len(work.data), generator=work.generator)
        work.position = 0
    chosen = work.order[work.position : work.position + work.batch]
    work.position += work.batch
    work.descent.clear()
    loss = work.task.loss(work.model(work.data.x[chosen]), work.data.y[chosen])
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise TaskFault("loss() must return one number, a tensor that depends on the model's output")
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TaskFault(f"the loss became {value} at step {work.steps + 1}: try a lower learning rate")
    loss.backward()  # type: ignore[no-untyped-call]
    work.descent.step()
    work.steps += 1
    work.examples += work.batch
    work.loss_sum += value
    return value


def final(work: LocalTraining) -> TrainingSummary:
    return TrainingSummary(work.steps, work.examples, work.loss_sum / max(work.steps, 1))


def train(
    task: Task,
    model: nn.Module,
    data: Data,
    *,
    steps: int,
    lr: float,
    batch: int,
    momentum: float = 0.0,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainingSummary:
    """`steps` steps on `model`, in place. `on_step(steps done, loss)` may raise, which ends the training."""
    work = init(task, model, data, lr=lr, batch=batch, momentum=momentum, seed=seed)
    for _ in range(steps):
        loss = step(work)
        if on_step is not None:
            on_step(work.steps, loss)
    return final(work)


@dataclass(frozen=True)
class Evaluation:
    """Sums over the examples, so that figures of several nodes can be pooled."""

    examples: int
    correct: int
    loss_sum: float

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.examples, 1)


def evaluate(
    task: Task, model: nn.Module, data: Data, on_batch: Callable[[int], None] | None = None
) -> Evaluation:
    """`model` on `data`, in batches; a loss that is not finite is reported, not raised."""
    model.eval()
    correct, loss_sum = 0, 0.0
    with torch.inference_mode():
        for begin in range(0, len(data), EVALUATION_BATCH):
            x, y = data.x[begin : begin + EVALUATION_BATCH], data.y[begin : begin + EVALUATION_BATCH]
            output = model(x)
            loss_sum += float(task.loss(output, y)) * len(x)
            correct += int(task.correct(output, y))
            if on_batch is not None:
                on_batch(begin + len(x))
    return Evaluation(len(data), correct, loss_sum)
