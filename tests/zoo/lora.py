"""A frozen backbone of five million weights, and an adapter of ten thousand: only the adapter travels."""

import torch
from clouds import Clouds
from torch import nn


class Adapted(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.wide = nn.Linear(4, 512), nn.Linear(512, 9766, bias=False)
        self.requires_grad_(False)
        self.down, self.up = nn.Linear(512, 16, bias=False), nn.Linear(16, 96, bias=False)
        self.head = nn.Linear(96, 3)

    def forward(self, x):
        hidden = torch.tanh(self.inner(x))
        return self.head(self.wide(hidden)[:, :96] + self.up(self.down(hidden)))


class Lora(Clouds):
    name = "lora"

    def model(self):
        return Adapted()


JOB = {"rounds": 4, "steps": 4}
