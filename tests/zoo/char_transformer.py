"""The next character by a transformer, measured by its perplexity."""

import numpy as np
from torch import nn

from muster import Task

TEXT = np.frombuffer(b"the quick brown fox jumps over the lazy dog and runs away. " * 40, np.uint8) % 32


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(32, 32), nn.Linear(32, 32)
        self.layer = nn.TransformerEncoderLayer(32, 2, 32, dropout=0.0, batch_first=True)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.head(self.layer(self.embed(x), mask, is_causal=True)).mT


class CharTransformer(Task):
    name = "char_transformer"

    def model(self):
        return Transformer()

    def training_data(self):
        begins = np.random.default_rng(self.part).integers(0, len(TEXT) - 17, 100)
        rows = np.stack([TEXT[i : i + 17] for i in begins]).astype(np.int64)
        return rows[:, :-1], rows[:, 1:]


JOB = {"lr": 0.2, "rounds": 4}
