"""The models of the serving benchmarks as ONNX files: a small CNN and a ResNet-18."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from muster.learning.onnx_export import save_onnx


class Answering(nn.Module):
    """A classifier with the outputs of a served model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        output = self.model(x)
        logs = output.log_softmax(1)
        shares = logs.exp()
        return {"output": output, "confidence": shares.amax(1), "entropy": -(shares * logs).sum(1)}


def cnn() -> nn.Module:
    """28,938 parameters: that of the task mnist."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 10),
    )  # fmt: skip


class Block(nn.Module):
    """Two convolutions and a way past them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        same = before == after and stride == 1
        self.past = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.main(x) + self.past(x))


def resnet18() -> nn.Module:
    """11.2 million parameters, for 32x32 images in colour."""
    widths = (
        (64, 64, 1),
        (64, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
    )
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        *(Block(*width) for width in (*widths, (512, 512, 1))),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


SHAPES = {"cnn": (1, 28, 28), "resnet18": (3, 32, 32)}


def export(kind: str, path: Path, seed: int = 0) -> Path:
    """Write a model of a kind; each seed is another one."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = {"cnn": cnn, "resnet18": resnet18}[kind]()
    examples = [torch.randn(n, *SHAPES[kind]) for n in (2, 3)]
    save_onnx(path, Answering(model), examples, {"task": kind})
    return path
