from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from toys import Toy, data, trained

from muster.errors import MusterError
from muster.learning import export, params
from muster.learning.evaluation import evaluate


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
    export.save_onnx(path, model, data().x[:1], {"task": "toy"})
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    session = onnxruntime.InferenceSession(str(path))
    assert session.get_modelmeta().custom_metadata_map == {"task": "toy"}
    model.eval()
    for size in (1, 7):
        x = data().x[:size]
        (output,) = session.run(["output"], {"input": x.numpy()})
        assert np.allclose(output, model(x).detach().numpy(), atol=1e-5)
    assert capfd.readouterr() == ("", "")
