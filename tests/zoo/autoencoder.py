"""The target is the input."""

import numpy as np
from clouds import Clouds
from torch import nn


class Autoencoder(Clouds):
    name = "autoencoder"

    def model(self):
        return nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 8))

    def samples(self, seed):
        inner = np.random.default_rng(seed).normal(size=(120, 2))
        x = (inner @ np.random.default_rng(0).normal(size=(2, 8))).astype(np.float32)
        return x, x
