"""The model takes two tensors."""

import torch
from clouds import Clouds, clouds
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, left, right):
        return self.head(torch.cat((left, right), 1))


class TwoInputs(Clouds):
    name = "two_inputs"

    def model(self):
        return Two()

    def samples(self, seed):
        x, y = clouds(seed)
        return (x[:, :2], x[:, 2:]), y
