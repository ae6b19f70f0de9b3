"""AdamW with a warm-up and clipped gradients; its state survives the rounds."""

import torch
from clouds import Clouds
from torch import nn


class AdamW(Clouds):
    name = "adamw"
    gradient_clip_val = 1.0

    def model(self):
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))

    def configure_optimizers(self, parameters, lr):
        optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01)
        return optimiser, torch.optim.lr_scheduler.LinearLR(optimiser, 0.1, total_iters=10)


JOB = {"lr": 0.02}
