"""Sequences of different lengths, made into batches by a collate function of one's own."""

import torch
from clouds import Clouds, clouds
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader


def pad(samples):
    x, y = zip(*samples, strict=True)
    return pad_sequence(x, batch_first=True), torch.stack(y)


class Pooled(nn.Linear):
    def forward(self, x):
        return super().forward(x).amax(1)


class Ragged(Clouds):
    name = "ragged"

    def model(self):
        return Pooled(4, 3)

    def samples(self, seed):
        x, y = map(torch.as_tensor, clouds(seed))
        rows = [(x[i].repeat(1 + i % 3, 1), y[i]) for i in range(len(y))]
        return lambda batch, order: DataLoader(rows, batch, shuffle=True, collate_fn=pad)
