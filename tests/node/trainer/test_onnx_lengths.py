"""An ONNX file of a task whose batches have several lengths takes any length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.utils.data import DataLoader

from muster.learning.task import Task
from muster.node.trainer.task_session import TaskSession


def padded(items: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    texts, labels = zip(*items, strict=True)
    return nn.utils.rnn.pad_sequence(texts, batch_first=True), torch.tensor(labels)


class Texts(Task):
    name = "texts"

    def model(self) -> nn.Module:
        class Mean(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.words, self.head = nn.Embedding(20, 8), nn.Linear(8, 2)

            def forward(self, ids: torch.Tensor) -> torch.Tensor:
                return self.head(self.words(ids).mean(1))

        return Mean()

    def training_data(self) -> Any:
        rng = np.random.default_rng(0)
        rows = [(torch.from_numpy(rng.integers(1, 20, 3 + i % 7)), i % 2) for i in range(40)]
        return lambda batch, seed: DataLoader(rows, batch, collate_fn=padded)  # type: ignore[arg-type]


def test_a_model_of_texts_takes_other_lengths(tmp_path: Path) -> None:
    session, base, out = TaskSession(Texts()), tmp_path / "base", tmp_path / "m.onnx"
    session.do("initial", {"seed": 0, "source": None, "out": str(base)}, lambda _: None)
    request = {"base": str(base), "out": str(out), "format": "onnx", "metadata": {}}
    session.do("export", request, lambda _: None)
    running = onnxruntime.InferenceSession(str(out))
    assert running.get_inputs()[0].shape == ["batch", "length"]
    for count, length in ((1, 2), (5, 33)):
        (found,) = running.run(None, {"input": np.ones((count, length), np.int64)})
        assert found.shape == (count, 2)
