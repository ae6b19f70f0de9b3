"""A batch norm of one's own: its variance is a buffer by another name than torch's."""

import torch
from clouds import Clouds
from torch import nn


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.register_buffer("moving_var", torch.ones(width))

    def forward(self, x):
        if self.training:
            self.moving_var.mul_(0.9).add_(0.1 * x.detach().var(0))
        return x / (self.moving_var + 1e-5).sqrt()


class MovingVar(Clouds):
    name = "moving_var"

    def model(self):
        return nn.Sequential(Norm(4), nn.Linear(4, 16), Norm(16), nn.ReLU(), nn.Linear(16, 3))
