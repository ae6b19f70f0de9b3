"""An embedding whose gradients are sparse."""

import numpy as np
from clouds import Clouds
from torch import nn


class SparseEmbedding(Clouds):
    name = "sparse_embedding"

    def model(self):
        return nn.Sequential(nn.EmbeddingBag(60, 8, sparse=True), nn.Linear(8, 3))

    def samples(self, seed):
        rng = np.random.default_rng(seed)
        y = np.arange(90) % 3
        return y[:, None] + 3 * rng.integers(0, 20, (90, 5)), y


JOB = {"lr": 1.0, "momentum": 0.0}
