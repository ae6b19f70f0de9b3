"""One row of a node's data holds NaN: it is skipped, because the task says so."""

import numpy as np
from clouds import Clouds, clouds
from torch import nn


class NanRow(Clouds):
    name = "nan_row"
    skip_bad_rows = True

    def model(self):
        return nn.Linear(4, 3)

    def training_data(self):
        x, y = clouds(self.part)
        x[5, 2] = np.nan
        return x, y
