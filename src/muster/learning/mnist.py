"""The task `mnist`: 70,000 handwritten digits of 28 x 28 pixels from a file that the user names.

The file is an .npz with x_train (n x 28 x 28, 0..255), y_train (n), x_test and y_test (LeCun, Cortes,
Burges).  Option `model`: cnn6k (5,994 parameters), cnn29k (28,938; the default) or cnn47k (46,730).
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from muster.errors import MusterError
from muster.learning.hooks.augmenting import jittered
from muster.learning.task import Task

# channels of the first and second convolution, their padding, width of a hidden linear layer (0: none)
MODELS = {"cnn6k": (8, 16, 0, 0), "cnn29k": (16, 32, 2, 0), "cnn47k": (16, 32, 0, 64)}
MEAN, DEVIATION = np.float32(0.1307), np.float32(0.3081)  # of all pixels, 0 to 1
_HELP = "it must be an .npz file with x_train, y_train, x_test, y_test (images n x 28 x 28, labels 0 to 9)"


def load(path: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(images, labels) of `part` ("train" or "test"). Raises MusterError("bad_data") with one sentence."""
    keys = f"x_{part}", f"y_{part}"
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            missing = [key for key in keys if key not in file]
            if missing:
                raise MusterError("bad_data", f"the data file {path} lacks {', '.join(missing)}: {_HELP}")
            x, y = file[keys[0]], file[keys[1]]
    except FileNotFoundError:
        raise MusterError("bad_data", f"there is no data file {path}: give an .npz file of MNIST") from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zlib.error, zipfile.BadZipFile):
        raise MusterError("bad_data", f"the data file {path} cannot be read: {_HELP}") from None
    fault = None
    if x.shape[1:] != (28, 28) or y.shape != x.shape[:1] or len(y) == 0:
        fault = f"has {keys[0]} of shape {x.shape} and {keys[1]} of shape {y.shape}"
    elif y.dtype.kind not in "iu" or y.min() < 0 or y.max() > 9:
        fault = f"has labels in {keys[1]} outside 0 to 9"
    elif x.dtype != np.uint8 and (x.dtype.kind not in "iuf" or not 0 <= x.min() <= x.max() <= 255):
        fault = f"has pixels in {keys[0]} outside 0 to 255"
    if fault:
        raise MusterError("bad_data", f"the data file {path} {fault}: {_HELP}")
    return x.astype(np.uint8, copy=False), y.astype(np.int64)


class Mnist(Task):
    name = "mnist"
    version = "1"
    options = {"model": "cnn29k"}  # noqa: RUF012
    labels = tuple("0123456789")
    raw = "uint8", (28, 28)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.kind = str(self.options["model"])
        if self.kind not in MODELS:
            raise MusterError("usage", f"mnist has no model {self.kind!r}: use one of {', '.join(MODELS)}")

    def model(self) -> nn.Module:
        """conv 5x5, pool, conv 5x5, pool, one or two linear layers (of the family of LeNet-5)."""
        first, second, padding, hidden = MODELS[self.kind]
        flat = second * (49 if padding else 16)
        layers: list[nn.Module] = [
            nn.Conv2d(1, first, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        ]
        if hidden:
            layers += [nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, 10)]
        else:
            layers += [nn.Linear(flat, 10)]
        return nn.Sequential(*layers)

    def prepare(self, x: torch.Tensor) -> torch.Tensor:
        return (x.unsqueeze(1).float() / 255 - float(MEAN)) / float(DEVIATION)

    def training_data(self) -> tuple[Any, Any]:
        x, y = self.mine(*load(self._file(), "train"))
        return _images(x), y

    def evaluation_data(self) -> tuple[Any, Any]:
        x, y = load(self._file(), "test")
        return _images(x), y

    def augment(self, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        x, y = batch
        return jittered(x), y

    def _file(self) -> Path:
        if self.data is None:
            raise MusterError("bad_data", "the task mnist needs its data: --data FILE.npz")
        return self.data


def _images(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """n x 1 x 28 x 28 with mean 0 and deviation 1 over MNIST (0.1307, 0.3081)."""
    return ((x[:, None].astype(np.float32) / np.float32(255)) - MEAN) / DEVIATION
