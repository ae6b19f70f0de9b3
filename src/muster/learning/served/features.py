"""What nodes are compared by (adaptation/likeness.py): a few numbers that a sample has in the first
layers.

They are the mean and the deviation of each channel of the input, and of what the first convolutions give;
of models without convolutions, of what the first linear, embedding or recurrent layers give.  A layer with
one number a sample has that number.  There are at most 128; of layers with more channels they are evenly
spaced ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from muster.adaptation.likeness import FEATURES_MAX
from muster.errors import MusterError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
OTHERS = (nn.Linear, nn.Embedding, nn.RNNBase)
INPUT_MAX = FEATURES_MAX // 2  # of the input; the rest is left for the layers
TINY = 1e-12


class Features(nn.Module):
    """From what the model takes, (n, ...), to (n, k) float32, 1 <= k <= 128."""

    def __init__(self, model: nn.Module, example: torch.Tensor) -> None:
        """`example`: two samples or more. Raises MusterError for a model with no such layer and input."""
        super().__init__()
        self.model = model.eval()
        self._seen: list[tuple[torch.Tensor, int]] = []
        modules = list(model.modules())
        convolves = any(isinstance(module, CONVOLUTIONS) for module in modules)
        for module in modules:
            if isinstance(module, CONVOLUTIONS if convolves else OTHERS):
                module.register_forward_hook(self._note)
        self._input_axis = 1 if convolves else -1
        with torch.no_grad():
            self._layers = self._layers_of(example, last=convolves)
            if self(example).shape[1] == 0:
                raise MusterError(
                    "task_fault", "nothing in the model is there by which nodes could be compared"
                )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._seen.clear()
        self.model(x)
        found = [] if not x.is_floating_point() else [channels(x, self._input_axis, INPUT_MAX)]
        left = FEATURES_MAX - sum(part.shape[1] for part in found)
        for tensor, axis in self._seen[: self._layers]:
            part = channels(tensor, axis, left)
            found.append(part)
            left -= part.shape[1]
        self._seen.clear()
        return torch.cat(found, 1) if found else x.new_zeros((len(x), 0), dtype=torch.float32)

    def _note(self, module: nn.Module, given: Any, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        if isinstance(tensor, torch.Tensor) and tensor.ndim >= 2:
            self._seen.append((tensor, 1 if isinstance(module, CONVOLUTIONS) else -1))

    def _layers_of(self, x: torch.Tensor, *, last: bool) -> int:
        """How many of the layers, in the order of their calls, keep the samples along the first axis; the
        model's answer itself, what the last layer gives, is not one of them unless `last`."""
        self._seen.clear()
        self.model(x)
        kept = [len(tensor) == len(x) for tensor, _ in self._seen]
        count = kept.index(False) if False in kept else len(kept)
        return count if last or count < len(kept) else max(0, count - 1)


def channels(tensor: torch.Tensor, axis: int, most: int) -> torch.Tensor:
    """(n, up to `most`): of (n, c) the numbers themselves, else the mean and deviation of each channel."""
    n = tensor.shape[0]
    rows = tensor.float().reshape(n, -1) if tensor.ndim == 1 else tensor.float()
    if rows.ndim == 2:
        return rows[:, spaced(rows.shape[1], most)]
    rows = rows.movedim(axis % rows.ndim, 1).flatten(2)
    rows = rows[:, spaced(rows.shape[1], most // 2)]
    mean = rows.mean(2)
    deviation = ((rows - mean[:, :, None]) ** 2).mean(2).add(TINY).sqrt()
    return torch.cat([mean, deviation], 1)


def spaced(count: int, most: int) -> list[int]:
    """At most `most` places out of `count`, evenly spaced."""
    taken = max(0, min(count, most))
    return [i * count // taken for i in range(taken)]
