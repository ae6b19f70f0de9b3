"""The task `digits`: 1,797 real handwritten digits of 8 x 8 pixels that scikit-learn brings along.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.  A fifth of each class is the
common evaluation set.  The file is read straight from scikit-learn's folder, because importing scikit-learn
takes a second and 60 MB that a small device lacks.
"""

from __future__ import annotations

import gzip
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from muster.algorithms import splits
from muster.errors import MusterError
from muster.learning.hooks.augmenting import jittered
from muster.learning.task import Task

EVALUATION_SHARE = 0.2
MEAN, DEVIATION = np.float32(4.884), np.float32(6.017)  # of all pixels, 0 to 16
EVALUATION_SEED = 1998  # the same for all nodes and all jobs: figures stay comparable


@lru_cache(maxsize=1)
def load() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(x: n x 1 x 8 x 8 of mean 0 and deviation 1, y: n). Raises MusterError("bad_data")."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise MusterError("bad_data", "the task digits needs the data of scikit-learn: install scikit-learn")
    file = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(file, "rt") as text:
            table = np.loadtxt(text, delimiter=",", dtype=np.float32)
        pixels, labels = table[:, :64], table[:, 64]
    except (OSError, ValueError, IndexError):  # another version of scikit-learn keeps it elsewhere
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
    x = np.asarray(pixels, np.float32).reshape(-1, 1, 8, 8)
    return (x - MEAN) / DEVIATION, np.asarray(labels).astype(np.int64)


class Digits(Task):
    name = "digits"
    version = "1"
    labels = tuple("0123456789")
    raw = "uint8", (8, 8)

    def model(self) -> nn.Module:
        """A convolutional network of 2,730 parameters (11 kB in fp32)."""
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, 10),
        )

    def prepare(self, x: torch.Tensor) -> torch.Tensor:
        """Of pixels from 0 to 16."""
        return (x.unsqueeze(1).float() - float(MEAN)) / float(DEVIATION)

    def training_data(self) -> tuple[Any, Any]:
        x, y = load()
        kept, _ = splits.holdout(y, EVALUATION_SHARE, EVALUATION_SEED)
        return self.mine(x[kept], y[kept])

    def evaluation_data(self) -> tuple[Any, Any]:
        x, y = load()
        _, held = splits.holdout(y, EVALUATION_SHARE, EVALUATION_SEED)
        return x[held], y[held]

    def augment(self, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        x, y = batch
        return jittered(x, shift_px=1.0), y
