"""A frozen feature extractor: its batch norm keeps the statistics that it came with."""

import torch
from clouds import Clouds
from torch import nn


class FrozenBatchNorm(Clouds):
    name = "frozen_batch_norm"

    def model(self):
        body = nn.Sequential(nn.Linear(4, 32), nn.BatchNorm1d(32), nn.ReLU()).requires_grad_(False)
        nn.init.constant_(body[1].running_var, 4.0)
        assert not torch.is_inference_mode_enabled()
        return nn.Sequential(body, nn.Linear(32, 3))
