"""The two ONNX files of a served model: raw samples in, answers as torch has them, and features of the
inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from muster.adaptation import likeness
from muster.errors import MusterError
from muster.learning.data import open_data
from muster.learning.digits import Digits
from muster.learning.hooks import targets
from muster.learning.served.features import Features, spaced
from muster.learning.served.files import ServedFacts, save_served
from muster.learning.task import Task

RNG = np.random.default_rng(0)


def saved(task: Task, folder: Path, model: nn.Module | None = None) -> tuple[ServedFacts, Any, Any]:
    data = open_data(task)
    task.target_facts = targets.of_source(data.own)
    example = data.own.example().data
    inputs = example[0] if isinstance(example, tuple | list) else example
    out, sketch = folder / "m.onnx", folder / "m.sketch.onnx"
    made = task.model() if model is None else model
    facts = save_served(out, sketch, made, task, data.own, [inputs], {"task": task.name, "commit": "ab"})
    return facts, onnxruntime.InferenceSession(str(out)), onnxruntime.InferenceSession(str(sketch))


def task_of(x: Any, y: Any, layers: nn.Module, **said: Any) -> Task:
    def model(self: Task) -> nn.Module:
        return layers

    def training_data(self: Task) -> Any:
        return x, y

    body = {"name": "made", "model": model, "training_data": training_data, **said}
    made: Task = type("Made", (Task,), body)()
    return made


def test_a_classifier_takes_raw_samples_of_any_number(tmp_path: Path) -> None:
    task = Digits()
    model = task.model().eval()
    facts, served, _ = saved(task, tmp_path, model)
    assert (facts.sample.dtype, facts.sample.shape, facts.classes) == ("uint8", (8, 8), 10)
    assert [(i.name, i.type, i.shape) for i in served.get_inputs()] == [
        ("input", "tensor(uint8)", ["batch", 8, 8])
    ]
    assert [o.name for o in served.get_outputs()] == ["output", "confidence", "entropy"]
    for count in (1, 2, 7):
        raw = RNG.integers(0, 17, (count, 8, 8)).astype(np.uint8)
        output, confidence, entropy = served.run(None, {"input": raw})
        with torch.no_grad():
            logits = model(task.prepare(torch.from_numpy(raw)))
        shares = logits.softmax(1)
        assert np.allclose(output, logits.numpy(), atol=1e-4)
        assert np.allclose(confidence, shares.amax(1).numpy(), atol=1e-5)
        assert np.allclose(entropy, -(shares * shares.log()).sum(1).numpy(), atol=1e-5)
        assert confidence.shape == entropy.shape == (count,)
    said = served.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == list("0123456789")
    assert json.loads(said["sample"]) == {"dtype": "uint8", "shape": [8, 8]}
    assert (said["task"], said["commit"]) == ("digits", "ab")


def test_a_model_that_is_sure_has_no_entropy_and_no_nan(tmp_path: Path) -> None:
    task = Digits()
    model = task.model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(100)
    _, served, _ = saved(task, tmp_path, model)
    _, confidence, entropy = served.run(None, {"input": RNG.integers(0, 17, (50, 8, 8)).astype(np.uint8)})
    assert np.isfinite(entropy).all()
    assert (confidence <= 1 + 1e-6).all()
    assert (entropy >= -1e-6).all()


def test_the_sketch_has_the_channels_of_input_and_first_layers(tmp_path: Path) -> None:
    task = Digits()
    model = task.model().eval()
    _, _, sketching = saved(task, tmp_path, model)
    raw = RNG.integers(0, 17, (60, 8, 8)).astype(np.uint8)
    (found,) = sketching.run(["sketch"], {"input": raw})
    assert found.shape == (60, 2 * 1 + 2 * 16)
    x = task.prepare(torch.from_numpy(raw))
    with torch.no_grad():
        channels = next(iter(model.children()))(x)
    expected = [x.mean((2, 3)), x.std((2, 3), correction=0)]
    expected += [channels.mean((2, 3)), channels.std((2, 3), correction=0)]
    assert np.allclose(found, torch.cat(expected, 1).numpy(), atol=1e-4)
    reference = likeness.reference_of(sketching.get_modelmeta().custom_metadata_map)
    assert reference is not None
    data = open_data(task).own.sample(1000)
    same = likeness.Reference.of(Features(model, x)(data.example(1000).data[0]).detach().numpy())
    assert np.allclose(reference.mean, same.mean, rtol=1e-3, atol=1e-4)
    assert np.allclose(reference.deviation, same.deviation, rtol=1e-3, atol=1e-4)
    assert likeness.distance(likeness.sketch(found, reference), likeness.sketch(found[:40], reference)) < 0.3
    turned = sketching.run(["sketch"], {"input": raw // 3})[0]
    assert not likeness.alike(likeness.sketch(found, reference), likeness.sketch(turned, reference))


TABLE = RNG.normal(size=(60, 5)).astype(np.float32)


def test_a_regression_has_its_output_alone(tmp_path: Path) -> None:
    task = task_of(TABLE, TABLE[:, :1] * 2, nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)))
    facts, served, sketching = saved(task, tmp_path)
    assert facts.classes == 0
    assert [o.name for o in served.get_outputs()] == ["output"]
    assert served.run(None, {"input": TABLE[:3]})[0].shape == (3, 1)
    assert "classes" not in served.get_modelmeta().custom_metadata_map
    assert sketching.run(None, {"input": TABLE[:3]})[0].shape == (3, 5 + 8)  # not what it answers


@pytest.mark.parametrize("wide", [True, False])
def test_one_logit_for_two_classes(tmp_path: Path, wide: bool) -> None:
    y = (TABLE[:, 0] > 0).astype(np.float32)
    layers = nn.Linear(5, 1) if wide else nn.Sequential(nn.Linear(5, 1), nn.Flatten(0))
    task = task_of(TABLE, y, layers, labels=("dry", "wet"))
    facts, served, _ = saved(task, tmp_path)
    output, confidence, entropy = served.run(None, {"input": TABLE[:4]})
    share = 1 / (1 + np.exp(-output.reshape(-1)))
    assert facts.classes == 2
    assert np.allclose(confidence, np.maximum(share, 1 - share), atol=1e-5)
    assert np.allclose(entropy, -share * np.log(share) - (1 - share) * np.log(1 - share), atol=1e-5)
    assert json.loads(served.get_modelmeta().custom_metadata_map["classes"]) == ["dry", "wet"]


def test_a_model_with_a_softmax_of_its_own(tmp_path: Path) -> None:
    y = RNG.integers(0, 3, 60)
    plain = nn.Linear(5, 3)
    task = task_of(TABLE, y, nn.Sequential(plain, nn.Softmax(1)), labels={2: "far"})
    _, served, _ = saved(task, tmp_path)
    output, confidence, entropy = served.run(None, {"input": TABLE[:4]})
    assert np.allclose(output.max(1), confidence, atol=1e-6)
    assert np.allclose(-(output * np.log(output)).sum(1), entropy, atol=1e-5)
    assert json.loads(served.get_modelmeta().custom_metadata_map["classes"]) == ["0", "1", "far"]


def test_a_segmentation_has_no_confidence(tmp_path: Path) -> None:
    x, y = RNG.normal(size=(6, 1, 8, 8)).astype(np.float32), RNG.integers(0, 3, (6, 8, 8))
    facts, served, _ = saved(task_of(x, y, nn.Conv2d(1, 3, 3, padding=1)), tmp_path)
    assert facts.classes == 0
    assert [o.name for o in served.get_outputs()] == ["output"]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.reads, self.head = (
            nn.Embedding(20, 70),
            nn.GRU(70, 6, batch_first=True),
            nn.Linear(6, 2),
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.reads(self.words(ids))[1][0])
        return answer


def test_tokens_through_an_embedding_and_a_recurrent_layer(tmp_path: Path) -> None:
    ids = RNG.integers(0, 20, (30, 9))
    task = task_of(ids, ids[:, 0] % 2, Recurrent())
    facts, _, sketching = saved(task, tmp_path)
    assert facts.sample.dtype == "int64"
    (found,) = sketching.run(None, {"input": ids[:4]})
    assert found.shape == (4, 128)  # 64 of 70 channels, evenly spaced: no room for the layer behind it


def test_a_large_network_has_at_most_256_bytes(tmp_path: Path) -> None:
    x = RNG.normal(size=(20, 3, 16, 16)).astype(np.float32)
    layers = nn.Sequential(
        nn.Conv2d(3, 48, 3),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Conv2d(48, 200, 3),
        nn.Flatten(),
        nn.Linear(28800, 4),
    )
    _, served, sketching = saved(task_of(x, RNG.integers(0, 4, 20), layers), tmp_path)
    (found,) = sketching.run(None, {"input": x})
    assert found.shape == (20, 6 + 96 + 26)
    assert 2 * found.shape[1] <= likeness.BYTES_MAX
    assert (tmp_path / "m.sketch.onnx").stat().st_size < 0.5 * (tmp_path / "m.onnx").stat().st_size
    assert np.array_equal(served.run(None, {"input": x})[0], served.run(None, {"input": x})[0])


def test_spaced_places() -> None:
    assert spaced(5, 9) == [0, 1, 2, 3, 4]
    assert spaced(6, 3) == [0, 2, 4]
    assert spaced(6, 0) == spaced(0, 6) == []


def by_numpy(self: Task, x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(x.numpy().astype(np.float32) / 255)


def too_few(self: Task, x: torch.Tensor) -> torch.Tensor:
    return x[:1].float()


def of_another_shape(self: Task, x: torch.Tensor) -> torch.Tensor:
    return x.float()[:, :4]


def of_another_type(self: Task, x: torch.Tensor) -> torch.Tensor:
    return x.double()


def failing(self: Task, x: torch.Tensor) -> torch.Tensor:
    return x.float().view(3, 999)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (by_numpy, "its ONNX file answers otherwise than the model"),
        (too_few, "as many samples as it gets"),
        (of_another_shape, "the model does not take what prepare"),
        (of_another_type, "makes samples of float64 and shape .5,., and training_data"),
        (failing, "fails for samples of uint8"),
    ],
)
def test_a_prepare_that_cannot_be_served_is_a_sentence(tmp_path: Path, prepare: Any, words: str) -> None:
    task = task_of(TABLE, RNG.integers(0, 3, 60), nn.Linear(5, 3), prepare=prepare, raw=("uint8", (5,)))
    with pytest.raises(MusterError, match=words) as caught:
        saved(task, tmp_path)
    assert caught.value.code == "task_fault"
    assert "\n" not in str(caught.value)


def test_several_inputs_cannot_be_served(tmp_path: Path) -> None:
    task = task_of((TABLE, TABLE), RNG.integers(0, 3, 60), nn.Bilinear(5, 5, 3))
    with pytest.raises(MusterError, match="a served model takes one tensor"):
        saved(task, tmp_path)
    data = {"a": TABLE, "labels": RNG.integers(0, 3, 60)}
    with pytest.raises(MusterError, match="a served model takes one tensor"):
        save_served(
            tmp_path / "a", tmp_path / "b", nn.Linear(5, 3), task,
            open_data(type("D", (Task,), {"name": "d", "training_data": lambda self: data})()).own, [], {},
        )  # fmt: skip


def test_odd_names_of_labels_are_a_sentence(tmp_path: Path) -> None:
    task = task_of(TABLE, RNG.integers(0, 3, 60), nn.Linear(5, 3), labels=("a", "a", "b"))
    with pytest.raises(MusterError, match="must be different names"):
        saved(task, tmp_path)


def test_a_model_without_layers_and_without_numbers_has_nothing_to_compare() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Parameter(torch.randn(9, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rows[x[:, 0]]

    with pytest.raises(MusterError, match="by which nodes could be compared"):
        Features(Table(), torch.zeros((2, 1), dtype=torch.int64))
