"""The model, the data and two loops, as in any PyTorch project."""

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    """A batch norm's statistics travel, too."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x):
        return self.layers(x)


def load_data(partition_id, num_partitions):
    """Three clouds of points: this node's part for training, and 100 points for testing."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, 300 + 200 * num_partitions)
    x = rng.normal(size=(len(y), 8)) + 2 * np.eye(3, 8)[y]
    x, y = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)
    mine = slice(300 + partition_id, None, num_partitions)
    held_out = slice(0, 100)
    return (x[mine], y[mine]), (x[held_out], y[held_out])


def train(net, data, epochs, lr, batch_size):
    x, y = data
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    net.train()
    total = 0.0
    batches = 0
    for _ in range(epochs):
        for chosen in torch.randperm(len(y)).split(batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            total += loss.item()
            batches += 1
    return total / batches


def test(net, data):
    x, y = data
    net.eval()
    with torch.no_grad():
        output = net(x)
        loss = nn.functional.cross_entropy(output, y).item()
        return loss, (output.argmax(1) == y).float().mean().item()
