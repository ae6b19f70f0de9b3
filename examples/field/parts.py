"""A task on pictures in a folder: which part lies under the camera?

DATA/bolt/*.png  DATA/nut/*.png  DATA/washer/*.png      grey, 16 x 16 pixels
"""

import numpy as np
import torch
from PIL import Image
from torch import nn

from muster import Task


class Parts(Task):
    name = "parts"
    labels = ("bolt", "nut", "washer")
    raw = ("uint8", (16, 16))  # one picture, as the camera gives it

    def model(self):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(256, 3),
        )  # fmt: skip

    def prepare(self, x):
        return x.unsqueeze(1).float() / 128 - 1

    def loss(self, output, target):  # a model that is never quite sure can become less sure: so it is noticed
        return nn.functional.cross_entropy(output, target, label_smoothing=0.1)

    def training_data(self):
        files = [
            (path, y)
            for y, name in enumerate(self.labels)
            for path in sorted((self.data / name).glob("*.png"))
        ]
        x = np.stack([np.asarray(Image.open(path).convert("L")) for path, _ in files])
        return self.prepare(torch.from_numpy(x)), np.array([y for _, y in files])
