"""Digits for three nodes: each has every third class, and steps that rest, so that one can interrupt."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from muster.learning.digits import Digits


class Thirds(Digits):
    name = "thirds"

    def training_data(self) -> tuple[Any, Any]:
        parts, self.parts = self.parts, 1
        x, y = super().training_data()
        self.parts = parts
        mine = y % parts == self.part
        return x[mine], y[mine]

    def training_step(self, model: nn.Module, batch: Any) -> torch.Tensor | None:
        time.sleep(0.004)
        return super().training_step(model, batch)
