"""A model and data in float64."""

import numpy as np
from clouds import Clouds, clouds
from torch import nn


class Double(Clouds):
    name = "double"

    def model(self):
        return nn.Linear(4, 3).double()

    def samples(self, seed):
        x, y = clouds(seed)
        return x.astype(np.float64), y
