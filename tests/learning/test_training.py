from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from muster.algorithms import splits
from muster.compression.change import difference
from muster.compression.tensors import TensorError
from muster.errors import MusterError
from muster.learning import baselines, export, params
from muster.learning import local_simulation as rehearsal
from muster.learning import local_training as sgd
from muster.learning import task_check as check
from muster.learning.task import Task
from muster.protocol.records import Recipe

torch.set_num_threads(1)  # the models are tiny; several threads would only wait for one another


class Toy(Task):
    """Three clouds of points in the plane."""

    name = "toy"

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    def training_data(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(1)
        y = np.arange(300) % 3
        return (rng.normal(size=(300, 2)) + 4 * np.eye(3)[y][:, :2]).astype(np.float32), y

    def evaluation_data(self) -> tuple[Any, Any]:
        x, y = self.training_data()
        return x[:60], y[:60]


class Plain(Toy):
    """Without batch norm, which a node with one class would lead astray."""

    def model(self) -> nn.Module:
        return nn.Linear(2, 3)


BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


RECIPE: dict[str, Any] = {"steps": 30, "lr": 0.1, "batch": 16, "momentum": 0.5, "seed": 3}


def data() -> sgd.Data:
    return sgd.as_data(Toy().training_data(), "training_data")


def trained(**changes: Any) -> tuple[nn.Module, sgd.TrainingSummary]:
    model = rehearsal.fresh_model(Toy(), 0)
    return model, sgd.train(Toy(), model, data(), **(RECIPE | changes))


def test_training_is_a_function_of_its_seed() -> None:
    one, two, other = (trained(**c)[0].state_dict() for c in ({}, {}, {"seed": 4}))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)


def test_training_learns_and_counts() -> None:
    model, done = trained()
    assert (done.steps, done.examples) == (30, 480)
    measured = sgd.evaluate(Toy(), model, data())
    assert measured.examples == 300
    assert measured.accuracy > 0.9
    untrained = sgd.evaluate(Toy(), rehearsal.fresh_model(Toy(), 0), data())
    assert measured.loss_sum < untrained.loss_sum


def test_a_step_is_plain_sgd() -> None:
    """One step on all data by hand: w - lr * gradient."""
    model = rehearsal.fresh_model(Toy(), 0)
    twin = rehearsal.fresh_model(Toy(), 0)
    sgd.train(Toy(), model, data(), steps=1, lr=0.1, batch=300)
    nn.functional.cross_entropy(twin.train()(data().x), data().y).backward()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert q.grad is not None
        assert torch.allclose(p, q - 0.1 * q.grad, atol=1e-6)


def test_every_sample_is_seen_once_an_epoch() -> None:
    seen: list[int] = []

    class Spy(Toy):
        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            seen.extend(target.tolist())
            return super().loss(output, target)

    sgd.train(Spy(), rehearsal.fresh_model(Toy(), 0), data(), steps=10, lr=0.1, batch=30)
    assert np.bincount(seen).tolist() == [100, 100, 100]


def test_a_step_may_be_the_last() -> None:
    def stop(done: int, loss: float) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(on_step=stop)


def test_faults_while_training() -> None:
    with pytest.raises(sgd.TaskFault, match="learning rate"):
        trained(lr=1e38)
    with pytest.raises(sgd.TaskFault, match="no samples"):
        sgd.init(Toy(), nn.Linear(2, 3), data().at([]), lr=0.1, batch=1, momentum=0, seed=0)
    with pytest.raises(sgd.TaskFault, match="first axis"):
        sgd.as_data((np.zeros((3, 2)), np.zeros(4)), "training_data")
    with pytest.raises(sgd.TaskFault, match=r"\(x, y\)"):
        sgd.as_data(3, "training_data")


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
    before = params.arrays_of(rehearsal.fresh_model(Toy(), 0), layout)
    after = params.arrays_of(trained()[0], layout)
    update = difference(layout, before, after)
    assert update["1.num_batches_tracked"] == 30
    assert np.allclose(before["0.weight"] + update["0.weight"], after["0.weight"], atol=1e-6)


def test_dtypes_that_muster_does_not_carry() -> None:
    with pytest.raises(TensorError, match="bfloat16"):
        params.layout_of(nn.Linear(2, 2).to(torch.bfloat16))


def test_rehearsal_learns_from_skewed_parts_and_repeats() -> None:
    whole = data()
    parts = [whole.at(i) for i in splits.split(whole.y.numpy(), "classes:1", 3, 0)]
    recipe = Recipe(lr=0.1, batch=16, steps=5, seed=2, server_momentum=0.5)
    conditions = rehearsal.Conditions((0.0, 0.3, 0.0), (1.0, 1.0, 0.25))
    one, two = (rehearsal.rehearse(Plain(), parts, whole, recipe, 12, conditions) for _ in range(2))
    assert one == two
    assert max(m.accuracy for m in one.curve) > 0.9
    assert one.closing == one.curve[-1]
    found = baselines.compare(Plain(), parts, whole, recipe, [40, 40, 10])
    assert found.best_single < 0.6  # two of three classes are unknown to it
    assert found.pooled > 0.9
    assert found.pooled_steps == 40


def test_an_update_of_a_node_that_left_comes_late() -> None:
    """One node alone that goes whenever it has begun: each update comes a round later."""
    conditions = rehearsal.Conditions((1.0,), (1.0,), (1, 1))
    recipe = Recipe(lr=0.1, batch=16, steps=5, seed=2)
    assert conditions.leaving(0) == 1.0
    runs = list(rehearsal.models(Plain(), [data()], recipe, 4, conditions))
    start = params.arrays_of(rehearsal.fresh_model(Plain(), 2), params.layout_of(Plain().model()))
    same = [np.array_equal(a["weight"], b["weight"]) for a, b in pairwise([start, *runs])]
    assert same == [True, False, False, False]


def test_absence_is_the_share_that_was_asked_for() -> None:
    """Cycles of an absence (mean length) and the rounds before the next one (geometric, from 0)."""
    conditions = rehearsal.FIELD_8
    length = sum(conditions.away) / 2
    for node, share in enumerate(conditions.absence):
        leaving = conditions.leaving(node)
        assert leaving * length / (leaving * length + 1.0 - leaving) == pytest.approx(share)


def test_the_closing_model_is_the_mean_of_the_last() -> None:
    whole = data()
    recipe = Recipe(lr=0.1, batch=16, steps=5, seed=2, average=3)
    conditions = rehearsal.Conditions((0.0,), (1.0,))
    runs = list(rehearsal.models(Plain(), [whole], recipe, 5, conditions))
    layout = params.layout_of(Plain().model())
    model = Plain().model()
    expected = {k: np.mean([r[k].astype(np.float64) for r in runs[-3:]], axis=0) for k in runs[0]}
    found = rehearsal.mean(layout, runs[-3:])
    assert all(np.allclose(found[k], expected[k], atol=1e-6) for k in expected)
    params.load_into(model, layout, found)
    closing = rehearsal.rehearse(Plain(), [whole], whole, recipe, 5, conditions).closing
    assert closing == sgd.evaluate(Plain(), model, whole)


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
    assert sgd.evaluate(Toy(), fresh, data()) == sgd.evaluate(Toy(), model, data())


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


def examined(task: Task) -> tuple[str, ...]:
    ticks = iter(range(1000))
    return check.check(task, lambda: float(next(ticks)), lambda: 1).faults


def test_check_of_a_good_task() -> None:
    ticks = iter(range(1000))
    report = check.check(Toy(), lambda: float(next(ticks)), lambda: 123)
    assert report.good
    assert (report.samples, report.evaluation_samples, report.memory_bytes) == (300, 60, 123)
    assert report.step_s == 1 / check.STEPS


def test_check_names_faults() -> None:
    class Labels(Toy):
        def training_data(self) -> tuple[Any, Any]:
            x, y = super().training_data()
            return x, y + 1

    class Nan(Toy):
        def training_data(self) -> tuple[Any, Any]:
            x, y = super().training_data()
            return np.where(x > 3, np.nan, x), y

    class Dice(Toy):
        def model(self) -> nn.Module:
            model = super().model()
            nn.init.constant_(model[0].bias, float(next(dice)))  # type: ignore[index, arg-type, union-attr]
            return model

    class Flat(Toy):
        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return output.sum() * 0

    class Overcount(Toy):
        def correct(self, output: torch.Tensor, target: torch.Tensor) -> int:
            return 2 * len(target)

    class Infinite(Toy):
        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return super().loss(output, target) * torch.inf

    dice = iter(range(100))
    expected = {
        Labels: "labels go from 1 to 3",
        Nan: "not finite",
        Dice: "differs between two calls",
        Flat: "changed no parameter",
        Overcount: "counted 120 right of 60",
        Infinite: "the loss became inf",
    }
    for kind, words in expected.items():
        assert any(words in fault for fault in examined(kind())), (kind, examined(kind()))
