"""Weights divided by their largest singular value, which buffers estimate."""

from clouds import Clouds
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class Spectral(Clouds):
    name = "spectral_norm"

    def model(self):
        return nn.Sequential(spectral_norm(nn.Linear(4, 16)), nn.ReLU(), spectral_norm(nn.Linear(16, 3)))

    def loss(self, output, target):
        return nn.functional.cross_entropy(4 * output, target)
