"""Two networks with an optimiser each; the training step steps them itself."""

import torch
from clouds import Clouds
from torch import nn
from torch.nn.functional import softplus


class Gan(Clouds):
    name = "gan"
    metrics, automatic_optimization = {"distance": "min"}, False

    def model(self):
        return nn.ModuleDict({"make": nn.Linear(2, 4), "judge": nn.Linear(4, 1)})

    def configure_optimizers(self, parameters, lr):
        return [torch.optim.SGD(group, lr=lr, weight_decay=0.3) for group in (parameters[:2], parameters[2:])]

    def training_step(self, model, batch):
        made, judge = model["make"](torch.randn(len(batch[0]), 2)), model["judge"]
        for turn, optimiser in enumerate(self.optimizers):
            loss = softplus(judge(made.detach()) - judge(batch[0])) if turn else softplus(-judge(made))
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()

    def validation_step(self, model, batch):
        gap = model["make"].bias - batch[0].mean(0)
        return {"distance": (float(gap.square().mean()) * len(batch[0]), len(batch[0]))}


JOB = {"lr": 0.3, "steps": 15}
