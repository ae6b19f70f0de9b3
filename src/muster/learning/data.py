"""A node's samples as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from muster.learning.faults import TaskFault as TaskFault


@dataclass(frozen=True)
class Data:
    """Samples (n x ...) and targets (n ...), on the CPU."""

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.x)

    def at(self, index: Any) -> Data:
        chosen = torch.as_tensor(np.asarray(index), dtype=torch.int64)
        return Data(self.x[chosen], self.y[chosen])


def as_data(pair: Any, what: str) -> Data:
    """A task's (x, y) as tensors. Raises TaskFault."""
    try:
        x, y = pair
        data = Data(torch.as_tensor(x), torch.as_tensor(y))
    except (TypeError, ValueError) as error:
        raise TaskFault(f"{what}() must return (x, y), tensors or arrays: {error}") from error
    if data.x.ndim == 0 or data.y.ndim == 0 or len(data.x) != len(data.y):
        raise TaskFault(
            f"{what}() returned x of shape {tuple(data.x.shape)} and y of shape {tuple(data.y.shape)}:"
            " both need the samples along the first axis"
        )
    return data
