from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from toys import Toy, trained

from muster.algorithms import aggregation, server_step
from muster.algorithms.merging import merge
from muster.compression.change import difference
from muster.compression.codecs.families import parse
from muster.compression.model import decode_update, encode_update
from muster.compression.tensors import HEADER_BYTES, TensorError, check, pack, unpack
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
    with pytest.raises(TensorError, match="complex64"):
        params.layout_of(nn.Linear(2, 2, dtype=torch.complex64))


def test_bfloat16_there_and_back_to_the_bit() -> None:
    model, other = nn.Linear(3, 2).to(torch.bfloat16), nn.Linear(3, 2).to(torch.bfloat16)
    layout = params.layout_of(model)
    blob = pack(layout, params.arrays_of(model, layout))
    assert len(blob) == layout.blob_bytes == HEADER_BYTES + 2 * 8
    params.load_into(other, layout, unpack(layout, blob))
    assert torch.equal(model.weight, other.weight)


def test_a_bfloat16_model_changes_in_float32_and_is_the_same_everywhere() -> None:
    model = nn.Linear(64, 8).to(torch.bfloat16)
    layout = params.layout_of(model)
    before = params.arrays_of(model, layout)
    with torch.no_grad():
        model.weight += torch.randn(8, 64, dtype=torch.bfloat16) * 0.1
    update = difference(layout, before, params.arrays_of(model, layout))
    assert {spec.dtype for spec in layout.changes.tensors} == {"float32"}
    for codec in ("dense32", "stc:0.1", "quant4"):
        message = encode_update(parse(codec), layout, update)
        total = aggregation.accumulate(aggregation.init(layout), decode_update(layout, message), 1.0)
        after, _ = server_step.apply(server_step.init(), before, total)
        check(layout, after)
        assert merge(layout, after, after, 0.5)["weight"].tobytes() == after["weight"].tobytes()
        if codec == "dense32":
            assert after["weight"].tobytes() == params.arrays_of(model, layout)["weight"].tobytes()


def test_a_start_has_buffers_that_go_with_its_weights() -> None:
    """Those of another seed would be no estimate of the weight's largest singular value."""

    class Spectral(Toy):
        def model(self) -> nn.Module:
            return nn.utils.parametrizations.spectral_norm(nn.Linear(64, 64, bias=False))

    layout = params.layout_of(params.fresh_model(Spectral(), 0))
    start = params.start_model(Spectral(), 5, layout).eval()
    assert float(torch.linalg.matrix_norm(start.weight.detach(), 2)) < 1.2  # type: ignore[arg-type, operator]
