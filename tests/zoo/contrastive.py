"""Two views of each sample are pulled together, those of others apart; there are no targets."""

import torch
from clouds import clouds
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from muster import Task


class Contrastive(Task):
    name = "contrastive"
    metrics = {"alignment": "max"}

    def model(self):
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))

    def training_data(self):
        return {"x": clouds(self.part)[0]}

    def similar(self, model, x):
        one, two = (normalize(model(x + 0.1 * torch.randn_like(x)), dim=1) for _ in range(2))
        return one @ two.T

    def training_step(self, model, batch):
        similar = self.similar(model, batch["x"])
        return cross_entropy(similar / 0.2, torch.arange(len(similar)))

    def validation_step(self, model, batch):
        similar = self.similar(model, batch["x"])
        return {"alignment": (int((similar.argmax(1) == torch.arange(len(similar))).sum()), len(similar))}
