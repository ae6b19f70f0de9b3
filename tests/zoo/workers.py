"""A DataLoader with a worker process; one that is spawned imports this file again, which takes seconds."""

import torch
from clouds import Clouds, clouds
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Points(Dataset):
    def __init__(self, seed):
        self.x, self.y = map(torch.as_tensor, clouds(seed))

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class Workers(Clouds):
    name = "workers"
    options = {"start": "fork"}

    def model(self):
        return nn.Linear(4, 3)

    def training_data(self):
        start = self.options["start"]
        return lambda batch, seed: DataLoader(
            Points(self.part), batch, shuffle=True, num_workers=1, multiprocessing_context=start
        )


JOB = {"rounds": 2, "steps": 8, "lr": 0.2}
