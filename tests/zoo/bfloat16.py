"""A model in bfloat16."""

import torch
from clouds import Clouds
from torch import nn


class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).to(torch.bfloat16)

    def forward(self, x):
        return self.layers(x.to(torch.bfloat16)).float()


class Bfloat16(Clouds):
    name = "bfloat16"

    def model(self):
        return Half()
