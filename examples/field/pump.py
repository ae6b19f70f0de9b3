"""A task on rows of a CSV file: how is the pump, by six readings?

current_a,pressure_bar,flow_l_min,vibration_mm_s,temperature_c,valve,label
3.1,2.4,18.2,0.9,41,0.8,well
"""

import csv

import numpy as np
import torch
from torch import nn

from muster import Task

MEAN = torch.tensor([3.0, 2.5, 18.0, 1.2, 42.0, 0.7])  # of readings as they usually are
SPREAD = torch.tensor([0.5, 0.4, 3.0, 0.5, 4.0, 0.2])


class Pump(Task):
    name = "pump"
    labels = ("well", "worn", "clogged")
    raw = ("float32", (6,))

    def model(self):
        return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3))

    def prepare(self, x):
        return (x - MEAN) / SPREAD

    def loss(self, output, target):  # a model that is never quite sure can become less sure: so it is noticed
        return nn.functional.cross_entropy(output, target, label_smoothing=0.1)

    def training_data(self):
        with self.data.open(newline="") as file:
            rows = list(csv.DictReader(file))
        y = np.array([self.labels.index(row.pop("label")) for row in rows])
        x = np.array([[float(value) for value in row.values()] for row in rows], np.float32)
        return self.prepare(torch.from_numpy(x)), y
