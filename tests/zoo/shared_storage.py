"""Two Parameters on one storage, and a tied layer: each travels once."""

from clouds import Clouds
from torch import nn


class SharedStorage(Clouds):
    name = "shared_storage"

    def model(self):
        inner = nn.Linear(4, 4)
        twin = nn.Linear(4, 4)
        twin.weight = nn.Parameter(inner.weight.data)  # another Parameter, the same memory
        return nn.Sequential(inner, nn.Tanh(), twin, nn.Tanh(), inner, nn.Linear(4, 3))


JOB = {"rounds": 12}
