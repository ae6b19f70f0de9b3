"""MNIST for two islands: the first half of the nodes shares the digits 0 to 4, the other half 5 to 9."""

import numpy as np

from muster.learning import mnist


class Halves(mnist.Mnist):
    name = "halves"
    version = "1"

    def __init__(self, **options):
        super().__init__(**{"model": "cnn47k", **options})

    def training_data(self):
        x, y = mnist.load(self._file(), "train")
        half = self.parts // 2
        wanted = np.flatnonzero((y < 5) == (self.part < half))
        shuffled = np.random.default_rng([self.seed, self.parts]).permutation(wanted)
        mine = np.array_split(shuffled, half)[self.part % half]
        return mnist._images(x[mine]), y[mine]
