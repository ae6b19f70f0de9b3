"""The tasks of adaptive_steps.py: real digits, generated pictures and generated text, with a recipe each.

Every task has training samples, 600 held-out ones (the text: 200 sequences) that also steer the guard, and a
label for each sample by which it is dealt to the nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
from muster.planning.step_size import BY_DENSITY

HELD_OUT = 600
_, MOMENTUM, MOMENTUM_RATE = BY_DENSITY[0]  # of rounds with dense messages: 0.8, and 0.3 of the plain rate
CHARACTERS, SEQUENCE, DIALECTS = 27, 32, 10


@dataclass(frozen=True)
class Setting:
    """A task, what its nodes learn from, and the rate of plain local SGD; `known`: the rule's constants were
    chosen on its kind (MNIST, classes:2 and dirichlet:0.1)."""

    task: Task
    data: ArraySource
    labels: NDArray[np.int64]
    held_out: ArraySource
    lr: float
    batch: int = 16
    known: bool = False

    def parts(self, split: str, nodes: int, seed: int) -> list[ArraySource]:
        """What each node has."""
        return [self.data.at(part) for part in splits.split(self.labels, split, nodes, seed)]


class Net(Task):
    """A task whose model is made by a function."""

    name = "steps"

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self._make = make

    def model(self) -> nn.Module:
        return self._make()


def cnn(first: int, second: int, padding: int, flat: int) -> nn.Module:
    """The networks of learning/mnist.py, pooled before the ReLU, which is the same function and less work."""
    return nn.Sequential(
        nn.Conv2d(1, first, 5, padding=padding), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(first, second, 5, padding=padding), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(flat, 10),
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # fmt: skip


def cnn6k() -> nn.Module:
    return cnn(8, 16, 0, 256)


def cnn29k() -> nn.Module:
    return cnn(16, 32, 2, 1568)


def cnn_colour() -> nn.Module:
    """11,678 parameters, for pictures of 3 x 32 x 32."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 5, stride=2), nn.ReLU(), nn.Conv2d(12, 20, 3), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(720, 10),
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # fmt: skip


def mlp() -> nn.Module:
    """2,410 parameters, for digits of 8 x 8."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


class Transformer(nn.Module):
    """One causal block of width 32 over 32 characters: 11,323 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.characters, self.places = nn.Embedding(CHARACTERS, 32), nn.Embedding(SEQUENCE, 32)
        self.query_key_value, self.mix = nn.Linear(32, 96), nn.Linear(32, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
        self.inner, self.outer = nn.Linear(32, 64), nn.Linear(64, 32)
        self.out = nn.Linear(32, CHARACTERS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.characters(x) + self.places.weight[: x.shape[1]]
        n, t, _ = h.shape
        q, k, v = self.query_key_value(self.norms[0](h)).view(n, t, 3, 2, 16).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.mix(seen.transpose(1, 2).reshape(n, t, 32))
        h = h + self.outer(nn.functional.relu(self.inner(self.norms[1](h))))
        return self.out(self.norms[2](h))  # type: ignore[no-any-return]


def coloured(samples: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pictures of 3 x 32 x 32 in ten classes: three smooth patterns a class, shifted, mirrored, mixed with
    a fainter one of any class, and noisy."""
    kinds, place = 3, np.arange(32) / 32
    waves = np.stack([f(2 * np.pi * k * place) for k in (1, 2, 3) for f in (np.sin, np.cos)])
    patterns = np.einsum("pcij,ix,jy->pcxy", rng.normal(size=(10 * kinds, 3, 6, 6)), waves, waves) / 3
    y = rng.integers(0, 10, samples)
    x = np.empty((samples, 3, 32, 32), np.float32)
    for n in range(samples):
        main, faint = patterns[y[n] * kinds + rng.integers(kinds)], patterns[rng.integers(10 * kinds)]
        both = [np.roll(p, rng.integers(-3, 4, 2), (1, 2)) for p in (main, faint)]
        picture = rng.uniform(0.5, 1.0) * both[0] + rng.uniform(0.2, 0.7) * both[1]
        x[n] = picture[:, :, ::-1] if rng.random() < 0.5 else picture
    x += 0.5 * rng.normal(size=x.shape).astype(np.float32)
    return x, y


def text(samples: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(sequences of SEQUENCE + 1 characters, the dialect of each): words of common syllables, of which each
    dialect has 20, each followed by one of three."""
    syllables = [tuple(rng.integers(1, CHARACTERS, 2)) for _ in range(40)]
    own = []
    for _ in range(DIALECTS):
        words = [
            sum((syllables[s] for s in rng.integers(40, size=rng.integers(1, 4))), ()) for _ in range(20)
        ]
        own.append((words, rng.integers(20, size=(20, 3))))
    dialects = rng.integers(0, DIALECTS, samples)
    out = np.empty((samples, SEQUENCE + 1), np.int64)
    for n, dialect in enumerate(dialects):
        words, follows = own[dialect]
        line: list[int] = []
        word = rng.integers(20)
        while len(line) < 2 * SEQUENCE:
            line += [*words[word], 0]
            word = follows[word, rng.choice(3, p=(0.7, 0.2, 0.1))]
        begin = rng.integers(SEQUENCE - 1)
        out[n] = line[begin : begin + SEQUENCE + 1]
    return out, dialects


def source(x: Any, y: Any) -> ArraySource:
    return replace(as_arrays((x, y), "training_data"), checked=True)


def of_mnist(path: Path, make: Callable[[], nn.Module]) -> Setting:
    (x, y), (x_test, y_test) = (mnist.load(path, part) for part in ("train", "test"))
    chosen = np.random.default_rng(0).permutation(len(y_test))[:HELD_OUT]
    held_out = source(mnist._images(x_test[chosen]), y_test[chosen])
    return Setting(Net(make), source(mnist._images(x), y), y, held_out, 0.1, known=True)


def of_digits() -> Setting:
    x, y = digits.load()
    kept, held = splits.holdout(y, digits.EVALUATION_SHARE, digits.EVALUATION_SEED)
    return Setting(Net(mlp), source(x[kept], y[kept]), y[kept], source(x[held], y[held]), 0.3)


def of_colours() -> Setting:
    x, y = coloured(8_000 + HELD_OUT, np.random.default_rng(0))
    return Setting(
        Net(cnn_colour),
        source(x[HELD_OUT:], y[HELD_OUT:]),
        y[HELD_OUT:],
        source(x[:HELD_OUT], y[:HELD_OUT]),
        0.2,
    )


def of_text() -> Setting:
    lines, dialects = text(4_200, np.random.default_rng(0))
    train, held = lines[200:], lines[:200]
    return Setting(
        Net(Transformer),
        source(train[:, :-1], train[:, 1:]),
        dialects[200:],
        source(held[:, :-1], held[:, 1:]),
        0.5,
    )


def setting(name: str, mnist_file: Path) -> Setting:
    """One of NAMES."""
    match name:
        case "digits-mlp":
            return of_digits()
        case "mnist-cnn6k":
            return of_mnist(mnist_file, cnn6k)
        case "mnist-cnn29k":
            return of_mnist(mnist_file, cnn29k)
        case "colour-cnn":
            return of_colours()
        case "char-transformer":
            return of_text()
    raise ValueError(name)


NAMES = (
    "digits-mlp",
    "mnist-cnn6k",
    "char-transformer",
    "colour-cnn",
    "mnist-cnn29k",
)  # by what a step costs
