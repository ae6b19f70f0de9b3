"""What most of the zoo learns: three clouds of points. The other files are tasks, which import this one."""

import numpy as np

from muster import Task


def clouds(seed, samples=90):
    """Features (n x 4, float32) and classes 0, 1, 2."""
    rng = np.random.default_rng(seed)
    y = np.arange(samples) % 3
    return (rng.normal(size=(samples, 4)) + 3 * np.eye(4)[y]).astype(np.float32), y


class Clouds(Task):
    """A task but for its model: each node has points of its own."""

    def samples(self, seed):
        return clouds(seed)

    def training_data(self):
        return self.samples(self.part)

    def evaluation_data(self):
        return self.samples(99)
