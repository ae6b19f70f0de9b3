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
from muster.learning.onnx_axes import free_axes
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
    save_onnx(path, model, [data().x[:1]], {"task": "toy"})
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
    save_onnx(path, model, [example], {"classes": '["a", "b"]'})
    session = onnxruntime.InferenceSession(str(path))
    assert [(i.name, i.shape[0]) for i in session.get_inputs()] == [("ids", "batch"), ("pixels", "batch")]
    assert [(o.name, o.shape[:1]) for o in session.get_outputs()] == [("logits", ["batch"]), ("scale", [])]
    assert session.get_modelmeta().custom_metadata_map == {"classes": '["a", "b"]'}
    (logits,) = session.run(["logits"], {"ids": ids.numpy(), "pixels": pixels.numpy()})
    assert np.allclose(logits, model(ids, pixels)["logits"].detach().numpy(), atol=1e-5)


def test_onnx_of_what_is_no_tensor_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="more than tensors"):
        save_onnx(tmp_path / "m.onnx", Two(), [("text", torch.ones(2, 3))], {})


class Reader(nn.Module):
    """Tokens of any length, with a mask of the same: a label for each token, and one for the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mixes = nn.Embedding(9, 8), nn.Conv1d(8, 8, 3, padding=1)
        self.each, self.whole = nn.Linear(8, 3), nn.Linear(8, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        mixed = self.mixes((self.words(ids) * mask[..., None]).transpose(1, 2)).transpose(1, 2)
        return {"tokens": self.each(mixed), "text": self.whole(mixed.mean(1)), "half": mixed[:, ::2, 0]}


def tokens(count: int, length: int) -> dict[str, torch.Tensor]:
    ids = torch.arange(count * length).reshape(count, length) % 9
    return {"ids": ids, "mask": (ids > 1).float()}


def test_onnx_axes_whose_sizes_differ_in_the_examples_are_free(tmp_path: Path) -> None:
    model, path = Reader(), tmp_path / "m.onnx"
    save_onnx(path, model, [tokens(2, 5), tokens(2, 8), tokens(1, 3)], {})
    session = onnxruntime.InferenceSession(str(path))
    free = ["batch", "length"]
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("ids", free), ("mask", free)]
    shapes = {o.name: o.shape for o in session.get_outputs()}
    assert shapes == {"tokens": ["batch", "length", 3], "text": ["batch", 2], "half": ["batch", "half_1"]}
    for count, length in ((1, 4), (3, 21)):
        batch = tokens(count, length)
        found = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
        for mine, his in zip(model(**batch).values(), found, strict=True):
            assert np.allclose(mine.detach().numpy(), his, atol=1e-5)


def test_onnx_of_examples_of_one_length_has_that_length(tmp_path: Path) -> None:
    save_onnx(tmp_path / "m.onnx", Reader(), [tokens(2, 5), tokens(2, 5)], {})
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert session.get_inputs()[0].shape == ["batch", 5]


def test_names_of_free_axes() -> None:
    images = [{"input": (2, 3, 32, 40)}, {"input": (2, 3, 48, 32)}]
    maps = [{"output": (2, 5, 32, 40)}, {"output": (2, 5, 48, 32)}]
    free = {2: "input_2", 3: "input_3", 0: "batch"}
    assert free_axes(images, maps) == {"input": free, "output": free}
    texts = [{"ids": (2, 5), "question": (2, 7)}, {"ids": (2, 6), "question": (2, 6)}]
    free_ids, free_question = {1: "ids_1", 0: "batch"}, {1: "question_1", 0: "batch"}
    expected = {"ids": free_ids, "question": free_question, "logits": {0: "batch"}}
    assert free_axes(texts, [{"logits": (2, 4), "scale": ()}] * 2) == expected
    odd = [{"a": (2, 5)}, {"a": (2, 5, 1)}]  # another number of axes: nothing is said of them
    assert free_axes(odd, [{"b": (3,)}, {}]) == {}
