"""A client's work in a round as `init`, `step`, `final`: local SGD on one node's data.

Local SGD with heavy-ball momentum from zero (McMahan et al., AISTATS 2017, arXiv 1602.05629): batches are
drawn without replacement, epoch after epoch.  Everything follows from (parameters, data, recipe, seed); the
caller sets the number of threads, measures time and may stop between steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.sgd import sgd as sgd_update

from muster.learning.data import Data, TaskFault
from muster.learning.task import Task


@dataclass
class Sgd:
    """Does what `torch.optim.SGD` does, by the function that it calls.

    Making that class imports torch's compiler: a second of a fast core and 80 MB for every trainer.
    """

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
    """The state of a local training between two steps."""

    task: Task
    model: nn.Module
    data: Data
    optimiser: Sgd
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
    """The state before the first step. Seeds torch's global generator too, for dropout and the like."""
    if len(data) == 0:
        raise TaskFault("training_data() returned no samples")
    torch.manual_seed(seed)
    model.train()
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise TaskFault("model() has no parameter that can be trained")
    optimiser = Sgd(parameters, lr, momentum, [None] * len(parameters))
    order = torch.randperm(len(data), generator=generator)
    return LocalTraining(task, model, data, optimiser, min(batch, len(data)), generator, order)


def step(state: LocalTraining) -> float:
    """One step of SGD on the next batch; returns its loss. Raises TaskFault when that is not finite."""
    if state.position + state.batch > len(state.order):  # the few samples left over wait for the next epoch
        state.order = torch.randperm(len(state.data), generator=state.generator)
        state.position = 0
    chosen = state.order[state.position : state.position + state.batch]
    state.position += state.batch
    state.optimiser.clear()
    loss = state.task.loss(state.model(state.data.x[chosen]), state.data.y[chosen])
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise TaskFault("loss() must return one number, a tensor that depends on the model's output")
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TaskFault(f"the loss became {value} at step {state.steps + 1}: try a lower learning rate")
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimiser.step()
    state.steps += 1
    state.examples += state.batch
    state.loss_sum += value
    return value


def final(state: LocalTraining) -> TrainingSummary:
    """What was done; the trained parameters are in the model."""
    return TrainingSummary(state.steps, state.examples, state.loss_sum / max(state.steps, 1))


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
    state = init(task, model, data, lr=lr, batch=batch, momentum=momentum, seed=seed)
    for _ in range(steps):
        loss = step(state)
        if on_step is not None:
            on_step(state.steps, loss)
    return final(state)
