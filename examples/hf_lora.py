"""Fine-tune a transformers model by LoRA adapters: they alone travel between the nodes.

The model is a small BERT, built from a configuration; nothing is downloaded.  Sentences are read from disk as
`datasets` keeps them, or made up.  node.toml:

    [tasks.hf-lora]
    file = "hf_lora.py"
    data = "sentences"      # a folder from Dataset.save_to_disk; without it sentences are made up
    part = 0
    parts = 3
"""

import datasets
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForSequenceClassification

from muster import Task

CONFIG = BertConfig(
    vocab_size=20,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=16,
    num_labels=2,
)
ADAPTERS = LoraConfig(
    r=4, target_modules=["query", "value", "intermediate.dense"], modules_to_save=["classifier"]
)


def made_up(part):
    """200 sentences of 12 tokens: three quarters are of the half of the vocabulary that fits the label."""
    rng = np.random.default_rng(part)
    labels = rng.integers(0, 2, 200)
    fits = rng.random((200, 12)) < 0.75
    tokens = rng.integers(2, 11, (200, 12)) + 9 * (fits == labels[:, None])
    return {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "labels": labels}


class HfLora(Task):
    name = "hf-lora"
    version = "1"
    defaults = {"lr": 0.01, "steps": 10, "rounds": 8, "server_momentum": 0.0}  # noqa: RUF012

    def model(self):
        with torch.random.fork_rng():  # frozen parameters are the same for every job: they never travel
            torch.manual_seed(0)
            base = BertForSequenceClassification(CONFIG)
        return get_peft_model(base, ADAPTERS)  # its adapters follow from the job's seed

    def training_data(self):
        if self.data is not None:
            whole = datasets.load_from_disk(str(self.data))
            return whole.shard(self.parts, self.part).with_format("torch")
        return datasets.Dataset.from_dict(made_up(1 + self.part)).with_format("torch")

    def evaluation_data(self):
        return datasets.Dataset.from_dict(made_up(0)).with_format("torch")

    def configure_optimizers(self, parameters, lr):
        return torch.optim.AdamW(parameters, lr=lr)
