from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from muster.errors import MusterError
from muster.learning import params
from muster.learning.travel.kinds import decide
from muster.learning.travel.start_file import Start, begin


def model(classes: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    found = nn.Sequential()
    found.body, found.head = nn.Linear(4, 8), nn.Linear(8, classes)
    found.body.bias.requires_grad_(False)
    return found


def started(path: Path, fresh: tuple[str, ...] = ()) -> Start:
    here = model()
    found = decide(here, {})
    others = [t.name for t in found.tensors if not t.travels]
    return begin(path, found.layout, params.arrays_of(here, found.layout), others, fresh)


def refusal(path: Path, fresh: tuple[str, ...] = ()) -> str:
    with pytest.raises(MusterError) as caught:
        started(path, fresh)
    assert caught.value.code == "bad_data"
    return caught.value.sentence


def test_an_own_export_is_taken_as_a_whole(tmp_path: Path) -> None:
    path, saved = tmp_path / "m.safetensors", model(seed=5)
    save_file(saved.state_dict(), path)
    found = started(path)
    assert found.arrays.keys() == {"body.weight", "head.weight", "head.bias"}
    assert np.array_equal(found.arrays["body.weight"], saved.body.weight.detach().numpy())
    assert found.said.startswith(
        "starts from m.safetensors: 3 tensors taken, 1 that do not travel as the task"
    )


def test_a_head_of_another_shape_begins_anew_if_one_says_so(tmp_path: Path) -> None:
    path, saved = tmp_path / "m.safetensors", model(5, seed=5)
    save_file(saved.state_dict(), path)
    said = refusal(path)
    assert "'head.weight' has shape (5, 8) there and (3, 8) here" in said
    assert "--fresh 'head.weight'" in said
    found = started(path, ("head.*",))
    assert np.array_equal(found.arrays["body.weight"], saved.body.weight.detach().numpy())
    assert np.array_equal(found.arrays["head.bias"], model().head.bias.detach().numpy())
    assert "1 tensor taken, 2 fresh (head.weight, head.bias)" in found.said


def test_what_is_missing_or_unknown_is_named(tmp_path: Path) -> None:
    path, state = tmp_path / "m.safetensors", model(seed=5).state_dict()
    neck = {**state, "neck.weight": torch.ones(2), "neck.bias": torch.ones(2)}
    save_file(neck, path)
    assert "it holds the tensor 'neck.bias' and 1 more" in refusal(path)
    assert started(path, ("neck.*",)).said.startswith("starts from m.safetensors: 3 tensors taken")
    del state["head.bias"]
    save_file(state, path)
    assert "has no tensor 'head.bias'" in refusal(path)
    assert "1 fresh (head.bias)" in started(path, ("head.bias",)).said
    assert "--fresh 'haed.bias' fits no tensor: use the model's names, such as 'head.bias'" in refusal(
        path, ("haed.bias",)
    )


@pytest.mark.parametrize("inside", [None, "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torchs_own_files(tmp_path: Path, inside: str | None, prefix: str) -> None:
    path, saved = tmp_path / "m.pt", model(seed=5)
    state = {prefix + name: tensor.half() for name, tensor in saved.state_dict().items()}
    torch.save(state if inside is None else {inside: state, "epoch": 3}, path)
    found = started(path)
    assert found.arrays["head.weight"].dtype == np.float32
    assert np.allclose(found.arrays["head.weight"], saved.head.weight.detach().numpy(), atol=1e-3)


def test_nothing_in_a_torch_file_is_run(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save(model(), path)
    assert "holds more than weights" in refusal(path)
    path.write_bytes(b"no zip")
    assert refusal(path)
    torch.save([1, 2], path)
    assert "no named tensors" in refusal(path)
    assert "there is no file" in refusal(tmp_path / "absent.pt")


def test_what_stays_on_this_node_is_taken_where_the_file_has_it(tmp_path: Path) -> None:
    path, saved, here = tmp_path / "m.safetensors", model(seed=5), model()
    found = decide(here, {}, ["head.*"])
    others = [t.name for t in found.tensors if not t.travels]
    own = {name: here.state_dict()[name].numpy() for name in ("head.weight", "head.bias")}

    def begun(state: dict[str, torch.Tensor], fresh: tuple[str, ...] = ()) -> Start:
        save_file(state, path)
        return begin(path, found.layout, params.arrays_of(here, found.layout), others, fresh, own)

    start = begun({name: tensor.half() for name, tensor in saved.state_dict().items()})
    assert start.arrays.keys() == {"body.weight"}
    assert start.own.keys() == own.keys()
    assert start.own["head.bias"].dtype == np.float32
    assert np.allclose(start.own["head.weight"], saved.head.weight.detach().numpy(), atol=1e-3)
    assert start.said.endswith(
        "1 tensor taken, 2 of this node's own, 1 that do not travel as the task makes them"
    )
    assert begun(saved.state_dict(), ("head.*",)).own == {}
    assert begun({"body.weight": torch.ones(8, 4)}).own == {}
    with pytest.raises(MusterError, match=r"'head.bias' has shape \(9,\) there and \(3,\) here"):
        begun({**saved.state_dict(), "head.bias": torch.ones(9)})


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path, state = tmp_path / "m.safetensors", model(seed=5).state_dict()
    state["head.bias"][0] = torch.nan
    save_file(state, path)
    assert "'head.bias' holds values that are not finite" in refusal(path)
    assert started(path, ("head.*",))
