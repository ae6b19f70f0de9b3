from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from toys import Toy, data, trained

from muster.errors import MusterError
from muster.learning import export, params
from muster.learning.evaluation import evaluate
from muster.learning.onnx_export import save_onnx


def test_safetensors_there_and_back(tmp_path: Path) -> None:
    model, _ = trained()
    layout = params.layout_of(model)
    path = tmp_path / "m.safetensors"
    told = export.metadata("toy", "1", b"\x01\x02", "abcd", 0.5)
    export.save_safetensors(path, layout, params.arrays_of(model, layout), told)
    back = export.load_safetensors(path, layout)
    assert all(np.array_equal(back[k], v) for k, v in params.arrays_of(model, layout).items())
    assert export.metadata_of(path) == told
    from safetensors.torch import load_file

    fresh = Toy().model()
    fresh.load_state_dict(load_file(path))
    assert evaluate(Toy(), fresh, data()) == evaluate(Toy(), model, data())


def test_safetensors_of_something_else(tmp_path: Path) -> None:
    layout = params.layout_of(Toy().model())
    path = tmp_path / "m.safetensors"
    other = nn.Linear(2, 2)
    other_layout = params.layout_of(other)
    export.save_safetensors(path, other_layout, params.arrays_of(other, other_layout), {})
    broken = tmp_path / "broken"
    broken.write_bytes(b"hello")
    for given, words in ((path, "another model"), (broken, "not a readable"), (tmp_path / "no", "no file")):
        with pytest.raises(MusterError, match=words) as caught:
            export.load_safetensors(given, layout)
        assert caught.value.code == "bad_data"


def test_safetensors_of_bfloat16_and_of_eight_bits(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = Toy().model()
    layout = params.layout_of(model)
    for dtype in (torch.bfloat16, torch.float8_e4m3fn):
        given = {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}
        save_file(given, tmp_path / str(dtype))
    found = export.load_safetensors(tmp_path / "torch.bfloat16", layout)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            assert np.array_equal(found[name], value.to(torch.bfloat16).float().numpy())
            assert found[name].dtype == np.float32
    with pytest.raises(MusterError, match="has type F8_E4M3; use one of F64") as caught:
        export.load_safetensors(tmp_path / "torch.float8_e4m3fn", layout)
    assert caught.value.code == "bad_data"


def test_onnx_gives_the_same_answers_for_any_batch(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, _ = trained()
    path = tmp_path / "m.onnx"
    save_onnx(path, model, data().x[:1], {"task": "toy"})
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    session = onnxruntime.InferenceSession(str(path))
    assert session.get_modelmeta().custom_metadata_map == {"task": "toy"}
    model.eval()
    for size in (1, 7):
        x = data().x[:size]
        (output,) = session.run(["output"], {"input": x.numpy()})
        assert np.allclose(output, model(x).detach().numpy(), atol=1e-5)
    assert capfd.readouterr() == ("", "")


class Two(nn.Module):
    """Two inputs by name; outputs by name, one of them without a batch, one that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.image = nn.Embedding(9, 4), nn.Linear(3, 4)

    def forward(self, ids: torch.Tensor, pixels: torch.Tensor) -> dict[str, Any]:
        both = self.words(ids).mean(1) + self.image(pixels)
        return {"loss": None, "logits": both, "scale": self.image.weight.sum()}


@pytest.mark.parametrize("by_name", [True, False])
def test_onnx_has_the_names_of_the_batch(tmp_path: Path, by_name: bool) -> None:
    model, path = Two(), tmp_path / "m.onnx"
    ids, pixels = torch.arange(5).repeat(4, 1), torch.randn(4, 3)
    example = {"ids": ids[:2], "pixels": pixels[:2]} if by_name else (ids[:2], pixels[:2])
    save_onnx(path, model, example, {"classes": '["a", "b"]'})
    session = onnxruntime.InferenceSession(str(path))
    assert [(i.name, i.shape[0]) for i in session.get_inputs()] == [("ids", "batch"), ("pixels", "batch")]
    assert [(o.name, o.shape[:1]) for o in session.get_outputs()] == [("logits", ["batch"]), ("scale", [])]
    assert session.get_modelmeta().custom_metadata_map == {"classes": '["a", "b"]'}
    (logits,) = session.run(["logits"], {"ids": ids.numpy(), "pixels": pixels.numpy()})
    assert np.allclose(logits, model(ids, pixels)["logits"].detach().numpy(), atol=1e-5)


def test_onnx_of_what_is_no_tensor_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="more than tensors"):
        save_onnx(tmp_path / "m.onnx", Two(), ("text", torch.ones(2, 3)), {})
