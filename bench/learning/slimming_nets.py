"""Networks of several sizes, their groups of channels, and how long a step of each takes on a processor."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from muster.algorithms.slimming.shape import first
from muster.algorithms.slimming.structure import Structure
from muster.learning.slimming.smaller import narrowed
from muster.learning.slimming.structures import structure_of

WIDTHS = (1.0, 0.75, 0.5, 0.25)
STEPS, WARM, BATCH = 40, 5, 16


def cnn(one: int, two: int, padding: int, hidden: int = 0) -> nn.Module:
    """Two convolutions of 5 x 5 for images of 28 x 28."""
    flat = two * (49 if padding else 16)
    head = [nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, 10)] if hidden else [nn.Linear(flat, 10)]
    return nn.Sequential(
        nn.Conv2d(1, one, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(one, two, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), *head,
    )  # fmt: skip


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.short: nn.Module = nn.Identity()
        if stride == 2:
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(inner + self.short(x))


def resnet() -> nn.Module:
    """14 layers, 16 to 64 channels, for images of 32 x 32 (He et al. 2016, section 4.2, n = 2)."""
    blocks = [Block(i, o) for i, o in ((16, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64))]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "cnn6k": (lambda: cnn(8, 16, 0), (1, 28, 28)),
    "cnn29k": (lambda: cnn(16, 32, 2), (1, 28, 28)),
    "cnn582k": (lambda: cnn(32, 64, 0, 512), (1, 28, 28)),
    "resnet14": (resnet, (3, 32, 32)),
}


def fresh(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return NETS[name][0]()


def structure(name: str) -> Structure:
    x = torch.randn(2, *NETS[name][1], generator=torch.Generator().manual_seed(0))
    return structure_of(fresh(name, 0), lambda model: model(x))


def step_times(name: str) -> dict[str, dict[str, float]]:
    """For each width the number of weights and the milliseconds of processor time that a step of SGD takes:
    the lower quartile. The widths take turns, so that a busy machine is busy for all of them."""
    groups, whole = structure(name), fresh(name, 0)
    nets = {w: narrowed(copy.deepcopy(whole), groups, first(groups, w)) for w in WIDTHS}
    optimisers = {w: torch.optim.SGD(net.parameters(), 0.01) for w, net in nets.items()}
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, *NETS[name][1], generator=generator)
    y = torch.randint(10, (BATCH,), generator=generator)
    times_ms: dict[float, list[float]] = {w: [] for w in WIDTHS}
    for _ in range(WARM + STEPS):
        for width, net in nets.items():
            began_s = time.process_time()
            optimisers[width].zero_grad()
            functional.cross_entropy(net(x), y).backward()
            optimisers[width].step()
            times_ms[width].append((time.process_time() - began_s) * 1000)
    return {
        f"{w:g}": {
            "weights": sum(p.numel() for p in nets[w].parameters()),
            "step_ms": float(np.quantile(times_ms[w][WARM:], 0.25)),
        }
        for w in WIDTHS
    }
