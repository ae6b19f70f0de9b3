"""In which mode the modules of a model work, and on which device and in which precision a task computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from muster.errors import MusterError


def training_mode(model: nn.Module) -> None:
    """`model.train()`, but for modules whose parameters are all frozen, and those that model() left in
    evaluation mode (where it did not leave the whole model so)."""
    left = [] if not model.training else [module for module in model.modules() if not module.training]
    model.train()
    for module in model.modules():
        own = list(module.parameters())
        if own and not any(p.requires_grad for p in own):
            module.eval()
    for module in left:
        module.eval()


@contextlib.contextmanager
def statistics_kept(model: nn.Module) -> Iterator[bool]:
    """Within, batch norms use the statistics that they have. Yields whether any would have made its own."""
    active = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    useful = [m for m in active if m.track_running_stats]
    for module in useful:
        module.training = False
    try:
        yield bool(useful)
    finally:
        for module in useful:
            module.training = True


def too_few_for_batch_norm(error: BaseException) -> bool:
    """Whether torch says that a batch norm got one value a channel."""
    return isinstance(error, ValueError) and "more than 1 value per channel" in str(error)


def device_of(wanted: str) -> torch.device:
    """The device of `auto`, `cpu`, `cuda` or `cuda:1`. Raises MusterError."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (
        not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()
    ):
        there = f"{torch.cuda.device_count()} are there" if torch.cuda.is_available() else "none is there"
        raise MusterError(
            "config", f"device = {wanted!r}: this machine has no such GPU ({there}), use 'auto' or 'cpu'"
        )
    return device


def precision(wanted: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """What a step computes within: autocast for "bf16"; the parameters stay as they are."""
    if wanted == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the CPU or a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
