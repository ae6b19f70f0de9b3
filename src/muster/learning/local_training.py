"""A client's work in a round as `init`, `step`, `final`: local training on one node's data.

Local SGD with heavy-ball momentum from zero (McMahan et al., AISTATS 2017, arXiv 1602.05629) unless the task
has optimisers of its own: batches are drawn without replacement, epoch after epoch.  Everything follows from
(parameters, data, recipe, seed); the caller sets the number of threads, measures time and may stop between
steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from muster.learning.faults import TaskFault
from muster.learning.hooks import modes
from muster.learning.hooks.optimisers import Optimisers, configured
from muster.learning.hooks.optimisers import Sgd as Sgd
from muster.learning.sources.clean import clean, why_not_finite
from muster.learning.sources.source import Batches
from muster.learning.sources.trees import Batch, to_device
from muster.learning.task import Task

EMPTY_MAX = 100  # batches in a row of which nothing is left without rows that hold NaN


@dataclass
class LocalTraining:
    """The state of a local training between two steps."""

    task: Task
    model: nn.Module
    data: Batches
    optimisers: Optimisers
    batches: Iterator[Batch]
    device: torch.device
    falls_over: int = 0  # steps over which the rate falls to 0, along half a wave of a cosine; 0: it stays
    steps: int = 0
    examples: int = 0
    skipped: int = 0  # samples with NaN, as the task wants it
    loss_sum: float = 0.0
    losses: int = 0  # of so many steps


@dataclass(frozen=True)
class TrainingSummary:
    """`loss` is the mean over the steps done; 0.0 if the task gives none. `state`: of the optimisers."""

    steps: int
    examples: int
    loss: float
    state: dict[str, Any] | None = None
    skipped: int = 0


def init(
    task: Task, model: nn.Module, data: Batches, *, lr: float, batch: int, momentum: float, seed: int,
    round_: int = 1, state: dict[str, Any] | None = None, falls_over: int = 0,
) -> LocalTraining:  # fmt: skip
    """The state before the first step, with the optimisers' `state` of an earlier round if it fits.

    Seeds torch's global generator too, for dropout and the like; moves `model` to the task's device.
    """
    if data.size == 0:
        raise TaskFault("training_data() returned no samples")
    device = modes.device_of(task.settings.device)
    model.to(device)
    torch.manual_seed(seed)
    modes.training_mode(model)
    task.on_round_begin(model, round_)
    optimisers = configured(task, model, lr=lr * task.settings.lr_scale, momentum=momentum)
    if task.keep_optimizer:
        optimisers.take_up(state)
    task.optimizers = tuple(optimisers.optimisers)
    batches = data.batches(task.settings.batch or batch, seed)
    return LocalTraining(task, model, data, optimisers, batches, device, falls_over)


def step(state: LocalTraining) -> float:
    """One step on the next batch; returns its loss. Raises TaskFault when that is not finite."""
    with state.optimisers.at_rate(_rate_factor(state)):
        value = _stepped(state, _next(state))
    state.optimisers.schedule()
    return value


def _rate_factor(state: LocalTraining) -> float:
    """Of the next step (Loshchilov and Hutter, ICLR 2017, arXiv 1608.03983, without restarts)."""
    if not state.falls_over:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, state.steps / state.falls_over)))


def _stepped(state: LocalTraining, batch: Batch) -> float:
    automatic = state.task.automatic_optimization
    if automatic:
        state.optimisers.zero_grad()
    loss = _loss(state, batch)
    value = math.nan if loss is None else _number(loss)
    if loss is not None and not math.isfinite(value):
        why = why_not_finite(batch) or "try a lower learning rate"
        raise TaskFault(f"the loss became {value} at step {state.steps + 1}: {why}")
    if automatic:
        assert loss is not None
        loss.backward()  # type: ignore[no-untyped-call]
        if state.task.gradient_clip_val is not None:
            trained = [p for p in state.model.parameters() if p.grad is not None]
            nn.utils.clip_grad_norm_(trained, state.task.gradient_clip_val)
        state.optimisers.step()
    state.steps += 1
    state.examples += batch.count
    if not math.isnan(value):
        state.loss_sum += value
        state.losses += 1
    return value


def _number(loss: torch.Tensor | float) -> float:
    return float(loss.item() if isinstance(loss, torch.Tensor) else loss)


def _next(state: LocalTraining) -> Batch:
    """The next batch, without rows that hold NaN if the task wants it so."""
    for _ in range(EMPTY_MAX):
        batch = next(state.batches)
        if not state.data.checked:
            batch, skipped = clean(batch, skip=state.task.skip_bad_rows)
            state.skipped += skipped
        if batch.count:
            data = to_device(batch.data, state.device)
            return batch if data is batch.data else Batch(data, batch.count, batch.rows)
    raise TaskFault(f"{EMPTY_MAX} batches of training_data() hold nothing but rows with NaN")


def _loss(state: LocalTraining, batch: Batch) -> torch.Tensor | None:
    """The task's loss of a batch. One sample is too few for a batch norm to take statistics of: it then uses
    those that it has."""
    task, model = state.task, state.model
    with modes.precision(task.settings.precision, state.device):
        try:
            loss = task.training_step(model, batch.data)
        except ValueError as error:
            if batch.count > 1 or not modes.too_few_for_batch_norm(error):
                raise
            with modes.statistics_kept(model) as kept:
                if not kept:
                    raise TaskFault("batch norm needs 2 samples, it has 1") from error
                loss = task.training_step(model, batch.data)
    if not task.automatic_optimization:
        return loss
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
        what = "training_step()" if task.overrides("training_step") else "loss()"
        raise TaskFault(f"{what} must return one number, a tensor that depends on the model's output")
    return loss


def final(state: LocalTraining, round_: int = 1) -> TrainingSummary:
    """What was done; the trained parameters are in the model."""
    state.task.on_round_end(state.model, round_)
    state.task.optimizers = ()
    loss = state.loss_sum / max(1, state.losses)
    kept = state.optimisers.state() if state.task.keep_optimizer else None
    return TrainingSummary(state.steps, state.examples, loss, kept, state.skipped)


def train(
    task: Task,
    model: nn.Module,
    data: Batches,
    *,
    steps: int,
    lr: float,
    batch: int,
    momentum: float = 0.0,
    seed: int = 0,
    round_: int = 1,
    state: dict[str, Any] | None = None,
    cosine: bool = False,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainingSummary:
    """`steps` steps on `model`, in place. `on_step(steps done, loss)` may raise, which ends the training.

    `cosine`: the rate falls to 0 over the steps, along half a wave.
    """
    steps = min(steps, task.settings.steps_max or steps)
    work = init(
        task, model, data, lr=lr, batch=batch, momentum=momentum, seed=seed, round_=round_, state=state,
        falls_over=steps if cosine else 0,
    )  # fmt: skip
    for _ in range(steps):
        loss = step(work)
        if on_step is not None:
            on_step(work.steps, loss)
    return final(work, round_)
