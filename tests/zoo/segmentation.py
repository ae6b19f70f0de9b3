"""A class for each pixel."""

import numpy as np
from clouds import Clouds
from torch import nn


class Segmentation(Clouds):
    name = "segmentation"

    def model(self):
        return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))

    def samples(self, seed):
        y = (np.random.default_rng(seed).normal(size=(30, 8, 8)).cumsum(1).cumsum(2) > 0).astype(np.int64)
        x = y[:, None] + 0.5 * np.random.default_rng(seed + 1).normal(size=(30, 1, 8, 8))
        return x.astype(np.float32), y
