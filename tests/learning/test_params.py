from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from toys import Toy, trained

from muster.compression.change import difference
from muster.compression.tensors import TensorError
from muster.learning import params

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def test_tied_parameters_are_stored_once() -> None:
    model = Tied()
    layout = params.layout_of(model)
    assert [spec.name for spec in layout.tensors] == ["first.weight"]
    assert layout.aliases == (("second.weight", "first.weight"),)
    params.load_into(model, layout, {"first.weight": np.eye(3, dtype=np.float32)})
    assert torch.equal(model.second.weight, torch.eye(3))


def test_buffers_are_ordinary_entries() -> None:
    layout = params.layout_of(Toy().model())
    assert layout.by_name["1.num_batches_tracked"].dtype == "int64"
    assert [s.name for s in layout.tensors if not s.learnt] == [f"1.{n}" for n in BUFFERS]
    before = params.arrays_of(params.fresh_model(Toy(), 0), layout)
    after = params.arrays_of(trained()[0], layout)
    update = difference(layout, before, after)
    assert update["1.num_batches_tracked"] == 30
    assert np.allclose(before["0.weight"] + update["0.weight"], after["0.weight"], atol=1e-6)


def test_dtypes_that_muster_does_not_carry() -> None:
    with pytest.raises(TensorError, match="bfloat16"):
        params.layout_of(nn.Linear(2, 2).to(torch.bfloat16))
