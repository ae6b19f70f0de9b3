"""Two classes and one output: a logit."""

import numpy as np
from clouds import Clouds, clouds
from torch import nn


class Binary(Clouds):
    name = "binary"

    def model(self):
        return nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))

    def samples(self, seed):
        x, y = clouds(seed)
        return x, (y == 0).astype(np.float32)
