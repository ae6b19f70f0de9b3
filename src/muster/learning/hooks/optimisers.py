"""The optimisers of a local training: the task's own, with their state over rounds, or light SGD."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.sgd import sgd as sgd_update

from muster.learning.faults import TaskFault


class Task(Protocol):
    """What is asked of a task here."""

    def configure_optimizers(self, parameters: Parameters, lr: float) -> Any: ...


class Parameters(list[nn.Parameter]):
    """The parameters that are trained, in the model's order. `names`: as the model's `named_parameters` has
    them; `of("head.*")` chooses by name."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]]) -> None:
        pairs = list(named)
        super().__init__(parameter for _, parameter in pairs)
        self.names = [name for name, _ in pairs]

    def of(self, *patterns: str) -> list[nn.Parameter]:
        chosen = zip(self.names, self, strict=True)
        return [p for name, p in chosen if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


@dataclass
class Sgd:
    """Does what `torch.optim.SGD` does, by the function that it calls.

    Making that class imports torch's compiler: a second of a fast core and 80 MB for every trainer.
    """

    parameters: list[nn.Parameter]
    lr: float
    momentum: float
    velocity: list[torch.Tensor | None]

    def zero_grad(self) -> None:
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
class Optimisers:
    """Those of one local training, and their schedulers; all are stepped after each batch."""

    optimisers: list[Any]
    schedulers: list[Any] = field(default_factory=list)
    shapes: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)  # of what they train

    def zero_grad(self) -> None:
        for optimiser in self.optimisers:
            optimiser.zero_grad()

    def step(self) -> None:
        for optimiser in self.optimisers:
            optimiser.step()

    @contextlib.contextmanager
    def at_rate(self, factor: float) -> Iterator[None]:
        """Within, each learning rate is `factor` times what it is else."""
        rates: list[tuple[Any, float]] = []
        if factor != 1.0:
            rates = [(at, at.lr) for at in self.optimisers if hasattr(at, "lr")]
            groups = [group for at in self.optimisers for group in getattr(at, "param_groups", [])]
            rates += [(group, group["lr"]) for group in groups if "lr" in group]
        for at, rate in rates:
            _set_rate(at, rate * factor)
        try:
            yield
        finally:
            for at, rate in rates:
                _set_rate(at, rate)

    def schedule(self) -> None:
        for scheduler in self.schedulers:
            scheduler.step()

    def without_schedules(self) -> None:
        """Take each step at the rate towards which a warm-up rises, or from which a decay falls."""
        self.schedulers = []
        for optimiser in self.optimisers:
            for group in getattr(optimiser, "param_groups", []):
                base = group.get("max_lr", group.get("initial_lr"))
                group["lr"] = group["lr"] if base is None else base

    def state(self) -> dict[str, Any] | None:
        """What survives the round: plain values and tensors. None: there is nothing."""
        if not self.shapes:
            return None
        return {
            "shapes": [[name, list(shape)] for name, shape in self.shapes],
            "kinds": [_kind(optimiser) for optimiser in self.optimisers],
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
        }

    def take_up(self, state: dict[str, Any] | None) -> bool:
        """Go on from the state of an earlier round. False: it does not fit and is dropped.

        Without a scheduler the learning rate is the round's; with one, the schedule's.
        """
        if state is None or not self._fits(state):
            return False
        fresh = [optimiser.state_dict() for optimiser in self.optimisers]
        try:
            for optimiser, kept, new in zip(self.optimisers, state["optimisers"], fresh, strict=True):
                groups = kept["param_groups"] if self.schedulers else new["param_groups"]
                optimiser.load_state_dict({"state": kept["state"], "param_groups": groups})
            for scheduler, kept in zip(self.schedulers, state["schedulers"], strict=True):
                scheduler.load_state_dict(kept)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
            for optimiser, new in zip(self.optimisers, fresh, strict=True):
                optimiser.load_state_dict(new)
            return False
        return True

    def _fits(self, state: dict[str, Any]) -> bool:
        if state.get("shapes") != [[name, list(shape)] for name, shape in self.shapes]:
            return False
        kept, schedulers = state.get("optimisers", []), state.get("schedulers", [])
        if state.get("kinds") != [_kind(optimiser) for optimiser in self.optimisers]:
            return False
        if len(kept) != len(self.optimisers) or len(schedulers) != len(self.schedulers):
            return False
        for optimiser, one in zip(self.optimisers, kept, strict=True):
            sizes = [[len(g["params"]) for g in of["param_groups"]] for of in (one, optimiser.state_dict())]
            if sizes[0] != sizes[1]:
                return False
        return all(map(_finite, _tensors(kept)))


def _set_rate(at: Any, rate: float) -> None:
    """Of a group of an optimiser, or of `Sgd`."""
    if isinstance(at, dict):
        at["lr"] = rate
    else:
        at.lr = rate


def _kind(optimiser: Any) -> list[Any]:
    """Its class and switches (such as amsgrad), which say what its state has to hold."""
    groups = optimiser.state_dict()["param_groups"]
    switches = [[key, value] for g in groups for key, value in sorted(g.items()) if isinstance(value, bool)]
    return [type(optimiser).__name__, switches]


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)


def _finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def configured(task: Task, model: nn.Module, *, lr: float, momentum: float) -> Optimisers:
    """The optimisers that the task wants for the model's trained parameters. Raises TaskFault."""
    parameters = Parameters((name, p) for name, p in model.named_parameters() if p.requires_grad)
    if not parameters:
        raise TaskFault("model() has no parameter that can be trained")
    given = task.configure_optimizers(parameters, lr)
    if given is None:
        return Optimisers([Sgd(parameters, lr, momentum, [None] * len(parameters))])
    optimisers, schedulers = _sorted(given)
    shapes = [(name, tuple(p.shape)) for name, p in zip(parameters.names, parameters, strict=True)]
    return Optimisers(optimisers, schedulers, shapes)


def _sorted(given: Any) -> tuple[list[Any], list[Any]]:
    """Optimisers and schedulers, in whichever of Lightning's forms they were given. Raises TaskFault."""
    if isinstance(given, dict):  # {"optimizer": ..., "lr_scheduler": ... or {"scheduler": ...}}
        scheduler = given.get("lr_scheduler")
        scheduler = scheduler.get("scheduler") if isinstance(scheduler, dict) else scheduler
        given = [part for part in (given.get("optimizer"), scheduler) if part is not None]
    flat: list[Any] = []
    for part in given if isinstance(given, list | tuple) else [given]:
        flat += list(part) if isinstance(part, list | tuple) else [part]
    optimisers = [part for part in flat if hasattr(part, "step") and hasattr(part, "zero_grad")]
    schedulers = [part for part in flat if hasattr(part, "step") and not hasattr(part, "zero_grad")]
    if not optimisers or len(optimisers) + len(schedulers) != len(flat):
        raise TaskFault(
            "configure_optimizers() must return an optimiser, (optimiser, scheduler) or a list of them, not"
            f" {', '.join(type(part).__name__ for part in flat) or 'nothing'}"
        )
    return optimisers, schedulers
