"""The torch modules behind the two files: a model that takes raw samples, and its features of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from muster.learning.faults import TaskFault
from muster.learning.hooks import targets
from muster.learning.hooks.targets import TargetFacts

CLASSES, BINARY, OTHER = "classes", "binary", "other"
TINY = 1e-30
SUM_ERROR = 1e-3  # by which probabilities in fp32 may miss 1


class Served(nn.Module):
    """Raw samples in; out come `output`, as the model gives it, and of a classifier `confidence` (the
    probability of its answer) and `entropy` (nats), each (n,)."""

    def __init__(
        self, model: nn.Module, prepare: Callable[[Any], Any], kind: str, *, probabilities: bool
    ) -> None:
        """`kind`: CLASSES, BINARY (one logit) or OTHER. `probabilities`: the model has a softmax of its
        own."""
        super().__init__()
        self.model, self._prepare, self._kind, self._probabilities = (
            model.eval(),
            prepare,
            kind,
            probabilities,
        )

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        output = targets.output_tensor(self.model(self._prepare(x)))
        if self._kind == OTHER:
            return {"output": output}
        logs = self._logs(output)
        shares = logs.exp()
        entropy = -(shares * logs).sum(1)
        return {"output": output, "confidence": shares.amax(1), "entropy": entropy}

    def _logs(self, output: torch.Tensor) -> torch.Tensor:
        """(n, classes) of log-probabilities."""
        scores = output.float()
        if self._kind == BINARY:
            scores = scores.reshape(scores.shape[0], 1)
            return torch.cat([functional.logsigmoid(-scores), functional.logsigmoid(scores)], 1)
        return scores.clamp_min(TINY).log() if self._probabilities else scores.log_softmax(1)


class Sketching(nn.Module):
    """Raw samples in, features (n, k) out."""

    def __init__(self, features: nn.Module, prepare: Callable[[Any], Any]) -> None:
        super().__init__()
        self.features, self._prepare = features, prepare

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sketch": self.features(self._prepare(x))}


def kind_of(output: torch.Tensor, target: Any, facts: TargetFacts | None) -> str:
    """What the model's answers are, by a batch's output and target."""
    try:
        kind = targets.matched(output, target, facts).kind
    except TaskFault:  # a loss of the task's own
        return OTHER
    return kind if kind in (CLASSES, BINARY) else OTHER


def are_probabilities(output: torch.Tensor) -> bool:
    """Whether these answers (n, classes) are no logits: none is negative, and each sample's sum is 1."""
    return bool((output >= 0).all() and ((output.float().sum(1) - 1).abs() < SUM_ERROR).all())
