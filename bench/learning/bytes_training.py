"""Federated training in one process; each message goes through the real codecs and its bytes are counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from muster.algorithms.splits import split
from muster.compression import Codec, parse
from muster.compression.feedback import norm
from muster.compression.model import EncodedUpdate, encode_with_feedback
from muster.compression.tensors import Layout, TensorSpec
from muster.planning.codec_choice import Message, SentMessage, choose

HELD = 3  # evaluations in a row at or above the target
DENSE_RATES = (0.02, 0.05, 0.1, 0.2)
FLAGSHIP = {0.95: 15_000, 0.97: 30_000}
WEIGHTS = {"cnn6k": 5_994, "cnn29k": 28_938}


@dataclass(frozen=True)
class Setting:
    """One way to train. `up` and `down` may change: "stc:0.02@0,stc:0.01@40" switches after 40 rounds."""

    up: str = "dense32"
    down: str = "dense32"
    lr: float = 0.05
    steps: int = 20
    batch: int = 16
    momentum: float = 0.0
    server_lr: float = 1.0
    server_momentum: float = 0.0  # heavy ball: this share of the last commit's change, as jobs have it
    closing: int = 1  # judged is the mean of so many last commits, with which a job closes: it costs no bytes
    balance: float = 0.0  # logit adjustment by the node's own label frequencies (balanced softmax)
    goodput_bytes_s: float = 1_600  # what "auto" is told: each of ten nodes has its share of one 128 kbit/s
    compute_s: float = 1.5  # link, and a round computes for so long
    lr_end: float = 1.0  # the rate falls along a cosine to this fraction at the last round


FLAGSHIP_SETTING = Setting(up="stc:0.01", down="stc:0.01", lr=0.1, steps=100, server_momentum=0.5, closing=16)


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
    """A network whose parameters and gradients are views of one vector each. Filters lie channels last, which
    is a third faster on one core."""

    def __init__(self, kind: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.net = network(kind)
        named = list(self.net.parameters())
        self.vector = torch.cat([_channels_last(p.detach()).reshape(-1) for p in named])
        self.grad = torch.zeros_like(self.vector)
        offset = 0
        for p in named:
            p.data = _first(self.vector[offset : offset + p.numel()].view(_channels_last(p).shape))
            p.grad = _first(self.grad[offset : offset + p.numel()].view(_channels_last(p).shape))
            offset += p.numel()


def _channels_last(p: torch.Tensor) -> torch.Tensor:
    return p.permute(0, 2, 3, 1) if p.ndim == 4 else p


def _first(p: torch.Tensor) -> torch.Tensor:
    return p.permute(0, 3, 1, 2) if p.ndim == 4 else p


def network(kind: str) -> nn.Module:
    """cnn6k: 5,994 parameters; cnn29k: 28,938.

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
    layout = Layout((TensorSpec("w", (size,), "float32"),))
    model = flat.vector.numpy().copy()
    last: deque[np.ndarray[Any, np.dtype[np.float32]]] = deque(maxlen=how.closing)
    rngs = [np.random.default_rng([seed, node]) for node in range(len(data.parts))]
    priors = [_prior(data.y[part], how.balance) for part in data.parts]
    up_left = [np.zeros(size, np.float32) for _ in data.parts]
    down_left, previous = np.zeros(size, np.float32), model
    up_sent: list[list[SentMessage]] = [[] for _ in data.parts]
    down_sent: list[SentMessage] = []
    spent = 0.0
    for number in range(rounds):
        rate = how.lr * (how.lr_end + (1 - how.lr_end) * (1 + np.cos(np.pi * number / rounds)) / 2)
        total, up_bytes = np.zeros(size, np.float64), 0
        for node, part in enumerate(data.parts):
            delta = local(flat, model, data, part, priors[node], replace(how, lr=rate), rngs[node])
            up = _codec(_at(how.up, number), size, how, up_sent[node])
            sent = encode_with_feedback(up, layout, {"w": delta}, up_left[node], [seed, number, node])
            up_left[node] = sent.residual
            up_sent[node].append(_sample(up, sent, delta))
            up_bytes += len(sent.message)
            total += data.weights[node] * sent.decoded["w"]
        change = (how.server_lr * total + how.server_momentum * (model - previous)).astype(np.float32)
        down = _codec(_at(how.down, number), size, how, down_sent)
        back = encode_with_feedback(down, layout, {"w": change}, down_left, [seed, number, 9999])
        down_left = back.residual
        down_sent.append(_sample(down, back, change))
        previous, model = model, model + back.decoded["w"]
        last.append(model)
        spent += up_bytes / len(data.parts) + len(back.message)
        if (number + 1) % every == 0:
            yield Point(number + 1, spent, accuracy(flat, np.mean(last, axis=0), data))


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


def _codec(name: str, size: int, how: Setting, last: list[SentMessage]) -> Codec:
    if name != "auto":
        return parse(name)
    return parse(choose(Message(size), how.goodput_bytes_s, how.compute_s, last).codec)


def _sample(codec: Codec, sent: EncodedUpdate, delta: np.ndarray[Any, np.dtype[np.float32]]) -> SentMessage:
    return SentMessage(codec.name, norm(sent.residual) / (norm(delta) or 1.0))


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
    images = torch.from_numpy(((x[:, None].astype(np.float32) / 255) - 0.1307) / 0.3081)
    return images.to(memory_format=torch.channels_last)
