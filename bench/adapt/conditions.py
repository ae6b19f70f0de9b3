"""What the benchmarks of adaptation share: a base model, images that it was never trained on, and what
happens to them.

The base is `mnist`'s CNN of 28,938 parameters after three epochs of Adam on 30,000 clean images.  A change
takes images (n, 28, 28) from 0 to 1 and a generator.  What was computed once stays in a folder, so that a
run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from muster.learning.mnist import Mnist, load

TRAINED = 30_000  # images; those behind them, and the test set, are what streams are drawn from
EPOCHS, BATCH, LR = 3, 64, 1e-3
WORK = Path(tempfile.gettempdir()) / "muster-bench-adapt"

Images = NDArray[np.float32]
Change = Callable[[Images, np.random.Generator], Images]


def parser(text: str | None) -> argparse.ArgumentParser:
    """The options that all of these benchmarks have; `text` is theirs."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--data", type=Path, required=True)
    made.add_argument("--work", type=Path, default=WORK)
    made.add_argument("--json", type=Path)
    return made


def keep(result: dict[str, Any], path: Path | None) -> None:
    """The result as a file, if one was asked for."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def rotated(degrees: float) -> Change:
    return lambda x, rng: turned(x, np.full(len(x), degrees))


def turned(x: Images, degrees: NDArray[np.float64]) -> Images:
    """Each image by its own angle, bilinear, black outside."""
    angle = torch.from_numpy(np.deg2rad(degrees).astype(np.float32))
    zero = torch.zeros_like(angle)
    rows = [
        torch.stack([angle.cos(), -angle.sin(), zero], 1),
        torch.stack([angle.sin(), angle.cos(), zero], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), [len(x), 1, 28, 28], align_corners=False)
    return functional.grid_sample(torch.from_numpy(x)[:, None], grid, align_corners=False)[:, 0].numpy()


def inverted(x: Images, rng: np.random.Generator) -> Images:
    return 1 - x


def blurred(x: Images, rng: np.random.Generator) -> Images:
    """Gaussian, 1.5 pixels."""
    at = torch.arange(-4.0, 5.0)
    kernel = torch.exp(-(at**2) / (2 * 1.5**2))
    kernel = kernel / kernel.sum()
    images = functional.conv2d(torch.from_numpy(x)[:, None], kernel.view(1, 1, 1, -1), padding=(0, 4))
    return functional.conv2d(images, kernel.view(1, 1, -1, 1), padding=(4, 0))[:, 0].numpy()


def noisy(x: Images, rng: np.random.Generator) -> Images:
    return np.clip(x + rng.normal(0, 0.45, x.shape).astype(np.float32), 0, 1)


def darker(x: Images, rng: np.random.Generator) -> Images:
    return x * np.float32(0.4)


def gradually(x: Images, rng: np.random.Generator) -> Images:
    """From 0 to 60 degrees over the first 1,000 images."""
    return turned(x, np.minimum(np.arange(len(x)) * 0.06, 60.0))


def as_they_are(x: Images, rng: np.random.Generator) -> Images:
    return x


CHANGES: dict[str, Change] = {
    "rotated by 30": rotated(30), "rotated by 60": rotated(60), "rotated by 90": rotated(90),
    "inverted": inverted, "blurred": blurred, "noisy": noisy, "darker": darker,
    "new class": as_they_are, "other shares of classes": as_they_are, "gradually to 60": gradually,
}  # fmt: skip


def bytes_of(x: Images) -> NDArray[np.uint8]:
    """As a camera stores them: the raw samples of the task."""
    return np.rint(x * 255).astype(np.uint8)


def trained(folder: Path, data: Path, without: int | None = None) -> nn.Module:
    """The base model; `without`: of a class that it never saw."""
    path = folder / f"base{'' if without is None else f'-without-{without}'}.pt"
    torch.manual_seed(0)
    model, task = Mnist().model(), Mnist()
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    x, y = load(data, "train")
    x, y = x[:TRAINED], y[:TRAINED]
    if without is not None:
        x, y = x[y != without], y[y != without]
    inputs, labels = task.prepare(torch.from_numpy(x)), torch.from_numpy(y)
    optimiser = torch.optim.Adam(model.parameters(), LR)
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels))
        for rows in (order[at : at + BATCH] for at in range(0, len(order), BATCH)):
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(inputs[rows]), labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    save(path, lambda part: torch.save(model.state_dict(), part))
    return model.eval()


@lru_cache(maxsize=1)
def fresh(data: Path) -> tuple[Images, NDArray[np.int64]]:
    """The images that the base was never trained on, 0 to 1, and their classes."""
    x, y = load(data, "train")
    more, labels = load(data, "test")
    images = np.concatenate([x[TRAINED:], more]).astype(np.float32) / np.float32(255)
    return images, np.concatenate([y[TRAINED:], labels])


@torch.no_grad()
def outputs(model: nn.Module, x: Images) -> torch.Tensor:
    """The logits (n, 10) for images 0 to 1, by way of bytes."""
    raw, task = torch.from_numpy(bytes_of(x)), Mnist()
    return torch.cat([model(task.prepare(raw[at : at + 500])) for at in range(0, len(raw), 500)])


def entropies(logits: torch.Tensor) -> NDArray[np.float64]:
    logs = logits.log_softmax(1)
    return (-(logs.exp() * logs).sum(1)).double().numpy()


def clean_entropies(folder: Path, data: Path, without: int | None = None) -> NDArray[np.float64]:
    """Of the base's answers to all images as they are, kept in the folder."""
    path = folder / f"clean{'' if without is None else f'-without-{without}'}.npy"
    if not path.exists():
        found = entropies(outputs(trained(folder, data, without), fresh(data)[0]))
        save(path, lambda part: np.save(part, found))
    kept: NDArray[np.float64] = np.load(path)
    return kept


def in_runs(y: NDArray[np.int64], count: int, mean: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Places of images, so that one class follows itself for a geometric time with this mean."""
    of_class = [np.flatnonzero(y == c) for c in np.unique(y)]
    runs: list[NDArray[np.int64]] = []
    while sum(map(len, runs)) < count:
        mine = of_class[rng.integers(len(of_class))]
        runs.append(rng.choice(mine, rng.geometric(1 / mean)))
    return np.concatenate(runs)[:count]


def save(path: Path, write: Callable[[Path], object]) -> None:
    """Whole or not at all. The part's name ends as the file's does: numpy adds an ending to others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    write(part)
    os.replace(part, path)
