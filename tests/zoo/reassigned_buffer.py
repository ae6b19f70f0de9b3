"""A buffer that each forward pass replaces by another tensor, instead of writing into it."""

import torch
from clouds import Clouds
from torch import nn


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


class Reassigned(Clouds):
    name = "reassigned_buffer"

    def model(self):
        return nn.Sequential(Centred(), nn.Linear(4, 3))
