"""Several labels a sample, as zeros and ones."""

import numpy as np
from clouds import Clouds
from torch import nn


class MultiLabel(Clouds):
    name = "multi_label"

    def model(self):
        return nn.Linear(5, 5)

    def samples(self, seed):
        x = np.random.default_rng(seed).normal(size=(120, 5)).astype(np.float32)
        return x, (x > 0.2).astype(np.float32)


JOB = {"lr": 0.5}
