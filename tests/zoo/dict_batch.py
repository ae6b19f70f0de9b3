"""A batch is a dict, and so is the output, loss included: the shape of Hugging Face's models."""

from clouds import Clouds, clouds
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, features, labels=None):
        logits = self.head(features)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class DictBatch(Clouds):
    name = "dict_batch"

    def model(self):
        return Classifier()

    def samples(self, seed):
        return dict(zip(("features", "labels"), clouds(seed), strict=True))
