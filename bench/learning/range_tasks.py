"""The tasks on which the range test is judged, each with its nodes' parts and what it is measured on.

MNIST is cut to 800 images a node; all else is generated from the seed, so that one command suffices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from muster.algorithms import splits
from muster.learning import digits, mnist
from muster.learning.sources.arrays import ArraySource, as_arrays
from muster.learning.task import Task

NODES = 5
EACH = 800  # samples a node, where they are cut or generated
HELD_OUT = 600
MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"

Samples = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Cell:
    """One task under one split. `rounds` of `steps` steps reach a plateau at a good rate."""

    name: str
    task: Task
    parts: list[ArraySource]
    held_out: ArraySource
    rounds: int
    rates: tuple[float, ...]
    batch: int = 16
    steps: int = 10


def ladder(low: float, count: int) -> tuple[float, ...]:
    return tuple(low * 2.0**k for k in range(count))


SGD, ADAM = ladder(0.01, 8), ladder(0.002, 7)


# ---- tasks -------------------------------------------------------------------------------------------


class Mlp(digits.Digits):
    """Digits by a network without convolutions: 6,634 - some parameters."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


class Pictures(Task):
    """Pictures of 3 x 32 x 32 in ten classes, a network with batch norm."""

    name = "pictures"

    def model(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 10),
        )


class Transformer(nn.Module):
    """One layer over 32 characters: about 11,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(32, 32), nn.Parameter(torch.randn(16, 32) * 0.1)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.head(self.layers(self.embed(x) + self.place[: x.shape[1]], mask, is_causal=True)).mT


class Characters(Task):
    name = "characters"

    def model(self) -> nn.Module:
        return Transformer()


class CharactersAdamW(Characters):
    name = "characters-adamw"

    def configure_optimizers(self, parameters: Any, lr: float) -> Any:
        return torch.optim.AdamW(parameters, lr=lr)


class Linear(Task):
    """Least squares; the inputs have deviations from 0.3 to 3."""

    name = "linear"

    def model(self) -> nn.Module:
        return nn.Linear(20, 1)


# ---- data --------------------------------------------------------------------------------------------


def _pictures(count: int, rng: np.random.Generator, shapes: NDArray[Any]) -> Samples:
    """Two coarse patterns of each class in random proportions, moved about, with noise."""
    y = rng.integers(0, 10, count)
    mix = rng.uniform(0.3, 1.0, (count, 2, 1, 1, 1))
    x = (shapes[y] * mix).sum(1)
    for i in range(count):
        x[i] = np.roll(x[i], rng.integers(-4, 5, 2), (1, 2))
    return (x + rng.normal(0, 0.8, x.shape)).astype(np.float32), y


def _chain(length: int, rng: np.random.Generator, table: NDArray[Any]) -> NDArray[Any]:
    """Characters of which each follows from the one before, by `table`, or repeats the one four before."""
    text = np.zeros(length, np.int64)
    drawn, repeats = rng.random(length), rng.random(length) < 0.3
    bounds = table.cumsum(1)
    for i in range(4, length):
        follows = min(31, int(np.searchsorted(bounds[text[i - 1]], drawn[i])))
        text[i] = text[i - 4] if repeats[i] else follows
    return text


def _texts(count: int, rng: np.random.Generator, table: NDArray[Any]) -> Samples:
    text = _chain(17 * count, rng, table).reshape(count, 17)
    return text[:, :-1], text[:, 1:]


def _source(samples: Samples) -> ArraySource:
    return as_arrays(samples, "bench")


def _cut(whole: Samples, spec: str, seed: int) -> list[ArraySource]:
    x, y = whole
    return [_source((x[part], y[part])) for part in splits.split(y, spec, NODES, seed)]


def mnist_cell(kind: str, spec: str, seed: int) -> Cell:
    task = mnist.Mnist(data=str(MNIST), model=kind)
    rng = np.random.default_rng([seed, 1])
    x, y = mnist.load(MNIST, "train")
    chosen = rng.permutation(len(y))[: NODES * EACH]
    images, labels = task.evaluation_data()
    held = rng.permutation(len(labels))[:HELD_OUT]
    parts = _cut((mnist._images(x[chosen]), y[chosen]), spec, seed)
    rounds = {"cnn6k": 20, "cnn29k": 14}[kind]
    return Cell("", task, parts, _source((images[held], labels[held])), rounds, SGD)


def mlp_cell(spec: str, seed: int) -> Cell:
    task = Mlp()
    x, y = digits.load()
    kept, held = splits.holdout(y, digits.EVALUATION_SHARE, digits.EVALUATION_SEED)
    return Cell("", task, _cut((x[kept], y[kept]), spec, seed), _source((x[held], y[held])), 30, SGD)


def pictures_cell(spec: str, seed: int) -> Cell:
    rng = np.random.default_rng([seed, 2])
    coarse = rng.normal(size=(10, 2, 3, 8, 8))
    shapes = coarse.repeat(4, 3).repeat(4, 4)
    whole, held = (_pictures(n, rng, shapes) for n in (NODES * EACH, HELD_OUT))
    return Cell("", Pictures(), _cut(whole, spec, seed), _source(held), 16, SGD)


def text_cell(kind: type[Task], spec: str, seed: int) -> Cell:
    """i.i.d.: all nodes have one language; else each has its own mixture of two."""
    rng = np.random.default_rng([seed, 3])
    one, other = (rng.dirichlet(np.full(32, 0.08), 32) for _ in range(2))
    shares = [0.5] * NODES if spec == "iid" else [i / (NODES - 1) for i in range(NODES)]
    parts = [_source(_texts(300, rng, s * one + (1 - s) * other)) for s in shares]
    held = _source(_texts(200, rng, 0.5 * one + 0.5 * other))
    adam = kind is CharactersAdamW
    return Cell("", kind(), parts, held, 12, ADAM if adam else ladder(0.08, 7))


def linear_cell(spec: str, seed: int) -> Cell:
    """Other than i.i.d.: the inputs of each node have a mean of their own."""
    rng = np.random.default_rng([seed, 4])
    scale = np.geomspace(0.3, 3.0, 20)
    weight, noise = rng.normal(size=(20, 1)), 0.3

    def draw(count: int, shift: float) -> Samples:
        x = rng.normal(shift * rng.normal(size=20), 1.0, (count, 20)) * scale
        return x.astype(np.float32), (x @ weight + rng.normal(0, noise, (count, 1))).astype(np.float32)

    shift = 0.0 if spec == "iid" else 1.0
    parts = [_source(draw(200, shift)) for _ in range(NODES)]
    return Cell("", Linear(), parts, _source(draw(HELD_OUT, 0.0)), 30, ladder(0.001, 8))


MAKERS: dict[str, Callable[[str, int], Cell]] = {
    "mnist 6k": lambda spec, seed: mnist_cell("cnn6k", spec, seed),
    "mnist 29k": lambda spec, seed: mnist_cell("cnn29k", spec, seed),
    "digits MLP": mlp_cell,
    "pictures, batch norm": pictures_cell,
    "characters, SGD": lambda spec, seed: text_cell(Characters, spec, seed),
    "characters, AdamW": lambda spec, seed: text_cell(CharactersAdamW, spec, seed),
    "least squares": linear_cell,
}
SPLITS = ("classes:2", "iid")
