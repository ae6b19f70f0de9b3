"""Networks whose groups of channels are known."""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    """Two convolutions with a shortcut, as in a ResNet."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.short = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(inner + self.short(x))


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), Block(8, 8, 1), Block(8, 12, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


def chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 16),
        nn.Dropout(0.5), nn.Tanh(), nn.Linear(16, 10),
    )  # fmt: skip


class Concatenating(nn.Module):
    """A dense block, flattened behind."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.norm, self.out = nn.BatchNorm2d(10), nn.Linear(640, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = torch.relu(self.a(x))
        return self.out(self.norm(torch.cat([a, self.b(a)], 1)).flatten(1))


class ChannelsLast(nn.Module):
    """Flattened with the channels last: each has every fourth column."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.a(x)).permute(0, 2, 3, 1).flatten(1))


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.deep = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.act, self.up = nn.PReLU(8), nn.ConvTranspose2d(8, 6, 2, 2)
        self.out = nn.Linear(6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.up(self.act(self.deep(torch.relu(self.a(x))))).amax((2, 3)))


class Hard(nn.Module):
    """Its forward takes the number of features for granted."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.out = nn.Linear(384, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.b(torch.relu(self.a(x)))).view(-1, 384))


class Mixing(nn.Module):
    """Channels that are normalised together, one layer that is called twice, and a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.b, self.twice = nn.Linear(512, 16), nn.Linear(16, 16)
        self.c, self.d = nn.Linear(16, 12), nn.Linear(12, 12)
        self.e, self.out = nn.Linear(12, 12), nn.Linear(12, 10)
        self.e.weight = self.d.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.b(self.norm(self.a(x)).flatten(1)))
        x = self.c(torch.relu(self.twice(torch.relu(self.twice(x)))))
        return self.out(torch.relu(self.e(torch.relu(self.d(x)))))


class TwoOutputs(nn.Module):
    """Features that come out as they are stay whole; what lies before them need not."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(64, 12), nn.Linear(12, 8), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = torch.relu(self.b(torch.relu(self.a(x.flatten(1)))))
        return {"features": features, "logits": self.out(features)}
