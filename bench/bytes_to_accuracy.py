"""Payload bytes to a target accuracy: compressed updates in both directions against dense fp32 FedAvg.

In one process, without a network: ten nodes train a small convolutional network on their part of MNIST with
equal local steps; every update and every aggregate goes through the real codecs with error feedback and its
bytes are counted (payload, up + down, a node).  A target counts as reached at the first of three evaluations
in a row at or above it.

    python bench/bytes_to_accuracy.py --data MNIST.npz --splits iid,dirichlet:0.1,classes:2 --seeds 1,2,3
    python bench/bytes_to_accuracy.py --data MNIST.npz --flagship

Dense FedAvg is tuned on a learning-rate grid of its own; the target is what the best of it reaches in all
rounds less half a point.  A flagship run asks for 95 % within 15 kB a node and 97 % within 30 kB.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from muster.compression import feedback, parse
from muster.learning.splits import split

HELD = 3  # evaluations in a row at or above the target
DENSE_RATES = (0.02, 0.05, 0.1, 0.2)
FLAGSHIP = {0.95: 15_000, 0.97: 30_000}


@dataclass(frozen=True)
class Setting:
    """One way to train. `up` and `down` may change: "stc:0.02@0,stc:0.01@40" switches after 40 rounds."""

    up: str = "dense32"
    down: str = "dense32"
    lr: float = 0.05
    steps: int = 20
    batch: int = 32
    momentum: float = 0.0
    server_lr: float = 1.0
    server_momentum: float = 0.0  # Nesterov, on the mean of the decoded updates
    average: float = 0.0  # weight of the past in an average of the commits, which costs no bytes
    balance: float = 0.0  # logit adjustment by the node's own label frequencies (balanced softmax)
    lr_end: float = 1.0  # the rate falls along a cosine to this fraction at the last round


@dataclass(frozen=True)
class Point:
    round: int
    bytes: float  # a node, up + down
    accuracy: float


class Data:
    """MNIST as tensors; `parts` are the nodes' indices."""

    def __init__(self, path: Path, spec: str, nodes: int, seed: int) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in ("x_train", "y_train", "x_test", "y_test")}
        self.x, self.y = _images(arrays["x_train"]), _labels(arrays["y_train"])
        self.x_test, self.y_test = _images(arrays["x_test"]), _labels(arrays["y_test"])
        self.parts = [torch.from_numpy(part) for part in split(arrays["y_train"], spec, nodes, seed)]
        self.weights = np.array([len(part) for part in self.parts], float) / len(self.y)


class Flat:
    """A network whose parameters and gradients are views of one vector each."""

    def __init__(self, kind: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.net = network(kind)
        named = list(self.net.parameters())
        self.vector = torch.cat([p.detach().reshape(-1) for p in named])
        self.grad = torch.zeros_like(self.vector)
        offset = 0
        for p in named:
            p.data = self.vector[offset : offset + p.numel()].view_as(p)
            p.grad = self.grad[offset : offset + p.numel()].view_as(p)
            offset += p.numel()


def network(kind: str) -> nn.Module:
    """cnn6k: 5,994 parameters; cnn29k: 28,938 (science.md, section 11).

    Pooling before the ReLU is the same function and less work."""
    first, second, padding, side = {"cnn6k": (8, 16, 0, 4), "cnn29k": (16, 32, 2, 7)}[kind]
    return nn.Sequential(
        nn.Conv2d(1, first, 5, padding=padding), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(first, second, 5, padding=padding), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(second * side * side, 10),
    )  # fmt: skip


def curve(kind: str, data: Data, how: Setting, rounds: int, seed: int, every: int = 1) -> Iterator[Point]:
    """Train and yield one point an evaluation. Everything follows from the arguments."""
    flat = Flat(kind, seed)
    size = flat.vector.numel()
    model = flat.vector.numpy().copy()
    averaged = model.copy()
    rngs = [np.random.default_rng([seed, node]) for node in range(len(data.parts))]
    priors = [_prior(data.y[part], how.balance) for part in data.parts]
    up_left = [np.zeros(size, np.float32) for _ in data.parts]
    down_left, velocity = np.zeros(size, np.float32), np.zeros(size, np.float64)
    spent = 0.0
    for number in range(rounds):
        up, down = parse(_at(how.up, number)), parse(_at(how.down, number))
        rate = how.lr * (how.lr_end + (1 - how.lr_end) * (1 + np.cos(np.pi * number / rounds)) / 2)
        total, up_bytes = np.zeros(size, np.float64), 0
        for node, part in enumerate(data.parts):
            delta = local(flat, model, data, part, priors[node], replace(how, lr=rate), rngs[node])
            sent = feedback.apply(up, delta, up_left[node], seed=[seed, number, node])
            up_left[node] = sent.residual
            up_bytes += len(sent.message)
            total += data.weights[node] * sent.decoded
        velocity = how.server_momentum * velocity + total
        step = how.server_lr * (total + how.server_momentum * velocity)
        back = feedback.apply(down, step.astype(np.float32), down_left, seed=[seed, number, 9999])
        down_left = back.residual
        model = model + back.decoded
        averaged += (1 - min(how.average, (1 + number) / (10 + number))) * (model - averaged)
        spent += up_bytes / len(data.parts) + len(back.message)
        if (number + 1) % every == 0:
            yield Point(number + 1, spent, accuracy(flat, averaged if how.average else model, data))


def local(
    flat: Flat,
    start: np.ndarray[Any, np.dtype[np.float32]],
    data: Data,
    part: torch.Tensor,
    prior: torch.Tensor,
    how: Setting,
    rng: np.random.Generator,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """`how.steps` steps of SGD from `start` on the node's part; the difference."""
    flat.vector.copy_(torch.from_numpy(start))
    velocity = torch.zeros_like(flat.vector)
    for _ in range(how.steps):
        chosen = part[torch.from_numpy(rng.integers(0, len(part), how.batch))]
        flat.grad.zero_()
        functional.cross_entropy(flat.net(data.x[chosen]) + prior, data.y[chosen]).backward()
        if how.momentum:
            velocity.mul_(how.momentum).add_(flat.grad)
            flat.vector.add_(velocity, alpha=-how.lr)
        else:
            flat.vector.add_(flat.grad, alpha=-how.lr)
    return flat.vector.numpy() - start


@torch.no_grad()
def accuracy(flat: Flat, model: np.ndarray[Any, np.dtype[np.float32]], data: Data) -> float:
    flat.vector.copy_(torch.from_numpy(model))
    parts = zip(data.x_test.split(500), data.y_test.split(500), strict=True)
    return sum(int((flat.net(x).argmax(1) == y).sum()) for x, y in parts) / len(data.y_test)


def reached(points: list[Point], target: float) -> Point | None:
    """The first of HELD evaluations in a row at or above the target."""
    for i in range(len(points) - HELD + 1):
        if all(p.accuracy >= target for p in points[i : i + HELD]):
            return points[i]
    return None


def held_best(points: list[Point]) -> float:
    """The highest accuracy that HELD evaluations in a row had."""
    return max(min(p.accuracy for p in points[i : i + HELD]) for i in range(len(points) - HELD + 1))


def _prior(labels: torch.Tensor, strength: float) -> torch.Tensor:
    """strength * log of the smoothed label frequencies, added to the logits while training only (Menon et al.
    2021, arXiv 2007.07314; under label skew FedLC, Zhang et al. 2022, arXiv 2209.00189)."""
    counts = torch.bincount(labels, minlength=10).double()
    return (strength * torch.log((counts + 1e-3 * len(labels)) / (1.01 * len(labels)))).float()


def _at(schedule: str, number: int) -> str:
    name = schedule
    for part in schedule.split(","):
        name_here, _, since = part.partition("@")
        if number >= int(since or 0):
            name = name_here
    return name


def _labels(y: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(y.astype(np.int64))


def _images(x: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    return torch.from_numpy(((x[:, None].astype(np.float32) / 255) - 0.1307) / 0.3081)


def main() -> int:
    return 0
