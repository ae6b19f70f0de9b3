"""A DataLoader with a worker process that is spawned, and so imports this file again."""

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

    def model(self):
        return nn.Linear(4, 3)

    def training_data(self):
        return lambda batch, seed: DataLoader(
            Points(self.part), batch, shuffle=True, num_workers=1, multiprocessing_context="spawn"
        )


JOB = {"rounds": 1, "steps": 4}
