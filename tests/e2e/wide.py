"""A large model that is quick to train: 527,810 parameters (2.1 MB) for the digits of 8 x 8 pixels."""

from torch import nn

from muster.learning.digits import Digits


class Wide(Digits):
    name = "wide"
    version = "1"

    def model(self):
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 600), nn.ReLU(), nn.Linear(600, 800), nn.ReLU(), nn.Linear(800, 10)
        )
