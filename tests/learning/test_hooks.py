"""The hooks of a task: steps, optimisers, modes of modules, and what they do to small batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toys import Toy, data

from muster.errors import MusterError
from muster.learning import local_training, params
from muster.learning.evaluation import EVALUATION_BATCH, evaluate, fitting_batch
from muster.learning.faults import TaskFault
from muster.learning.hooks import modes
from muster.learning.hooks.measuring import Measuring
from muster.learning.hooks.optimisers import Parameters
from muster.learning.sources.arrays import as_arrays
from muster.learning.sources.source import Source
from muster.learning.task import Task


class Line(Toy):
    def model(self) -> nn.Module:
        return nn.Linear(2, 3)


def trained(task: Task, source: Source | None = None, **changes: Any) -> nn.Module:
    model = params.fresh_model(task, 0)
    recipe: dict[str, Any] = {"steps": 3, "lr": 0.1, "batch": 30, "seed": 1}
    local_training.train(task, model, source or data(), **(recipe | changes))
    return model


def same(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_an_own_step_is_taken() -> None:
    class Own(Line):
        def training_step(self, model: nn.Module, batch: Any) -> torch.Tensor:
            x, y = batch
            return nn.functional.cross_entropy(model(x), y)

    assert same(trained(Own()), trained(Line()))


def test_rounds_begin_and_end() -> None:
    said: list[tuple[str, int, bool]] = []

    class Said(Line):
        def on_round_begin(self, model: nn.Module, round: int) -> None:
            said.append(("begin", round, bool(self.optimizers)))

        def on_round_end(self, model: nn.Module, round: int) -> None:
            said.append(("end", round, bool(self.optimizers)))
            with torch.no_grad():
                model.bias.zero_()  # type: ignore[union-attr, operator]

    assert float(trained(Said(), round_=4).bias.detach().abs().sum()) == 0.0  # type: ignore[union-attr, operator]
    assert said == [("begin", 4, False), ("end", 4, True)]


def test_gradients_are_clipped() -> None:
    class Clipped(Line):
        gradient_clip_val = 1e-3

    start = params.fresh_model(Line(), 0)
    moved = [b - a for a, b in zip(start.parameters(), trained(Clipped(), steps=1).parameters(), strict=True)]
    norm = float(torch.sqrt(sum((m**2).sum() for m in moved)).detach())  # type: ignore[arg-type]
    assert norm == pytest.approx(0.1 * 1e-3, rel=0.01)


def test_a_task_steps_its_optimisers_itself() -> None:
    class Two(Line):
        automatic_optimization = False

        def configure_optimizers(self, parameters: Parameters, lr: float) -> Any:
            assert parameters.names == ["weight", "bias"]
            return [torch.optim.SGD(parameters.of(name), lr=lr) for name in ("we*", "bias")]

        def training_step(self, model: nn.Module, batch: Any) -> None:
            for optimiser in self.optimizers:
                optimiser.zero_grad()
                self.loss(model(batch[0]), batch[1]).backward()  # type: ignore[no-untyped-call]
            self.optimizers[1].step()

    start, after = params.fresh_model(Line(), 0), trained(Two())
    assert torch.equal(start.weight, after.weight)  # type: ignore[arg-type]
    assert not torch.equal(start.bias, after.bias)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "made",
    [
        lambda o: o,
        lambda o: (o, torch.optim.lr_scheduler.ConstantLR(o)),
        lambda o: ([o], [torch.optim.lr_scheduler.ConstantLR(o)]),
        lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.ConstantLR(o)}},
    ],
)
def test_optimisers_are_given_in_each_form_of_lightning(made: Any) -> None:
    class Given(Line):
        def configure_optimizers(self, parameters: Parameters, lr: float) -> Any:
            return made(torch.optim.SGD(parameters, lr=lr))

    assert not same(trained(Given()), params.fresh_model(Line(), 0))


def test_what_is_no_optimiser_is_named() -> None:
    class Wrong(Line):
        def configure_optimizers(self, parameters: Parameters, lr: float) -> Any:
            return 0.1

    with pytest.raises(TaskFault, match=r"must return an optimiser.*not float"):
        trained(Wrong())


def test_frozen_modules_stay_in_evaluation_mode() -> None:
    class Frozen(Toy):
        def model(self) -> nn.Module:
            body = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.9)).requires_grad_(False)
            quiet = nn.Dropout(0.9).eval()
            return nn.Sequential(body, quiet, nn.BatchNorm1d(4), nn.Linear(4, 3))

    after = trained(Frozen())
    assert after[0][1].running_mean.abs().sum() == 0  # type: ignore[index, union-attr, operator]
    assert after[2].running_mean.abs().sum() > 0  # type: ignore[index, union-attr, operator]
    model = params.fresh_model(Frozen(), 0)
    modes.training_mode(model)
    assert [m.training for m in model] == [False, False, True, True]  # type: ignore[union-attr]
    whole = params.fresh_model(Frozen(), 0).eval()  # as a pretrained model comes: it is to be trained
    modes.training_mode(whole)
    assert [m.training for m in whole] == [False, True, True, True]  # type: ignore[union-attr]


class Norm(Toy):
    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


@pytest.mark.parametrize("count", [1, 2, 33])
def test_batch_norm_on_a_few_samples(count: int) -> None:
    x, y = Norm().training_data()
    after = trained(Norm(), as_arrays((x[:count], y[:count]), "training_data"), batch=32)
    assert all(bool(torch.isfinite(t).all()) for t in after.state_dict().values())
    assert not same(after, params.fresh_model(Norm(), 0))
    if count == 1:  # no statistics can be taken of one sample
        assert torch.equal(after[1].running_mean, torch.zeros(8))  # type: ignore[index, arg-type]
    assert after[1].training  # type: ignore[index]


def test_a_batch_norm_without_statistics_says_what_it_needs() -> None:
    class Bare(Toy):
        def model(self) -> nn.Module:
            return nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.Linear(2, 3))

    x, y = Bare().training_data()
    with pytest.raises(TaskFault, match="batch norm needs 2 samples, it has 1"):
        trained(Bare(), as_arrays((x[:1], y[:1]), "training_data"))


class Energy(nn.Module):
    """Its output is a gradient with respect to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        energy = self.inner(x).square().sum()
        [slope] = torch.autograd.grad(energy, x, create_graph=True)
        return nn.functional.pad(slope, (0, 1))


def test_a_model_that_takes_gradients_is_evaluated() -> None:
    class Forces(Toy):
        def model(self) -> nn.Module:
            return Energy()

    assert evaluate(Forces(), trained(Forces()), data(), batch=50).examples == 300


def test_other_models_are_evaluated_without_gradients() -> None:
    seen: list[bool] = []

    class Spy(Line):
        def validation_step(self, model: nn.Module, batch: Any) -> dict[str, tuple[float, float]]:
            seen.append(torch.is_grad_enabled())
            return super().validation_step(model, batch)

    evaluate(Spy(), nn.Linear(2, 3), data(), batch=100)
    assert seen == [False] * 3


def test_a_fault_of_the_task_is_not_taken_for_a_lack_of_gradients() -> None:
    calls: list[int] = []

    class Broken(Line):
        def validation_step(self, model: nn.Module, batch: Any) -> dict[str, tuple[float, float]]:
            calls.append(1)
            raise RuntimeError("no such luck")

    with pytest.raises(RuntimeError, match="no such luck"):
        evaluate(Broken(), nn.Linear(2, 3), data())
    assert len(calls) == 1


def test_an_evaluation_that_lacks_memory_takes_smaller_batches() -> None:
    sizes: list[int] = []

    class Hungry(Line):
        def validation_step(self, model: nn.Module, batch: Any) -> dict[str, tuple[float, float]]:
            sizes.append(len(batch[1]))
            if sizes[-1] > 30:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
            return super().validation_step(model, batch)

    model = nn.Linear(2, 3)
    found = evaluate(Hungry(), model, data(), batch=100)
    whole = evaluate(Line(), model, data())
    assert found.figures["accuracy"] == whole.figures["accuracy"]
    assert found.loss == pytest.approx(whole.loss)
    assert sizes.count(100) == 1
    assert sizes.count(50) <= 2  # what was too much is not tried again and again

    class Starving(Line):
        def validation_step(self, model: nn.Module, batch: Any) -> dict[str, tuple[float, float]]:
            raise MemoryError

    with pytest.raises(MemoryError):
        evaluate(Starving(), model, data())


def test_the_batch_of_an_evaluation_follows_what_a_model_gives_out() -> None:
    example = data().example()
    assert fitting_batch(Line(), nn.Linear(2, 3), example, 32) == EVALUATION_BATCH
    wide = nn.Sequential(nn.Linear(2, 1_000_000, bias=False), nn.Flatten(), nn.AdaptiveAvgPool1d(3))
    assert fitting_batch(Line(), wide, example, 8) == 8


def test_figures_are_pairs() -> None:
    class Wrong(Line):
        def __init__(self, said: Any) -> None:
            super().__init__()
            self.said = said

        def validation_step(self, model: nn.Module, batch: Any) -> Any:
            return self.said

    for said, words in ((0.5, "a dict"), ({"a": 0.5}, r"'a' as \(sum, count\)"), ({"a": ("x", 1)}, "'a'")):
        with pytest.raises(TaskFault, match=words):
            evaluate(Wrong(said), nn.Linear(2, 3), data())
    tensors = {"a": (torch.tensor(3.0), torch.tensor(6))}
    assert evaluate(Wrong(tensors), nn.Linear(2, 3), data()).mean("a") == 0.5


def test_a_batch_of_many_parts_needs_a_step() -> None:
    class Three(Line):
        def training_data(self) -> Any:
            return np.zeros((4, 2), np.float32), np.zeros(4), np.zeros(4)

    with pytest.raises(TaskFault, match="not 3 parts: write training_step"):
        trained(Three(), as_arrays(Three().training_data(), "training_data"))


def test_inputs_in_a_tuple_or_a_dict_are_arguments() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(2, 3)

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return self.head(torch.stack((left, right), 1))  # type: ignore[no-any-return]

    class Two(Toy):
        def model(self) -> nn.Module:
            return Both()

    x, y = Two().training_data()
    left, right = x[:, 0], x[:, 1]
    given = ((left, right), y), ({"left": left, "right": right}, y), {"left": left, "right": right, "y": y}
    models = [trained(Two(), as_arrays(tree, "training_data")) for tree in given]
    assert same(models[0], models[1])
    assert same(models[0], models[2])


def test_settings_of_the_node_go_before_the_recipe() -> None:
    steps: list[int] = []

    class Spy(Line):
        def loss(self, output: Any, target: Any) -> torch.Tensor:
            steps.append(len(target))
            return super().loss(output, target)

    trained(Spy(batch=7, steps_max=2))
    assert steps == [7, 7]
    assert same(trained(Line(lr_scale=0.5)), trained(Line(), lr=0.05))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0.5}, "lr: the task 'toy' declares no such option"),
        ({"lr_scal": 0.5}, "did you mean 'lr_scale'"),
        ({"batch": 0}, "batch: 0 is not a whole number"),
        ({"batch": True}, "batch: True"),
        ({"lr_scale": "1"}, "a number above 0"),
        ({"device": "gpu"}, "device: 'gpu' is not"),
        ({"precision": "fp16"}, "precision"),
        ({"steps_max": -1}, "steps_max"),
    ],
)
def test_settings_are_typed(options: dict[str, Any], words: str) -> None:
    with pytest.raises(MusterError, match=words) as caught:
        Line(**options)
    assert caught.value.code == "config"


def test_options_are_declared_with_their_type() -> None:
    class Wide(Line):
        options = {"width": 8, "rate": 0.5, "path": None, "big": False}  # noqa: RUF012

    assert Wide(width=4, rate=1).options == {"width": 4, "rate": 1, "path": None, "big": False}
    assert Wide().options["width"] == 8
    for wrong in ({"width": 0.5}, {"width": True}, {"big": 1}, {"rate": "x"}):
        with pytest.raises(MusterError, match="type of its default"):
            Wide(**wrong)
    with pytest.raises(MusterError, match="did you mean 'width'"):
        Wide(widht=3)


def test_bf16_computes_in_half_precision_and_keeps_the_parameters() -> None:
    kinds: set[torch.dtype] = set()

    class Spy(Line):
        def loss(self, output: Any, target: Any) -> torch.Tensor:
            kinds.add(output.dtype)
            return super().loss(output, target)

    after = trained(Spy(precision="bf16"))
    assert kinds == {torch.bfloat16}
    assert {p.dtype for p in after.parameters()} == {torch.float32}
    evaluate(Spy(precision="bf16"), after, data())
    assert kinds == {torch.bfloat16}


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MusterError, match="no such GPU"):
        trained(Line(device="cuda:1"))
    assert modes.device_of("auto").type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_training_on_a_gpu_leads_to_the_same_model() -> None:
    here, there = trained(Line(device="cpu")), trained(Line(device="cuda")).to("cpu")
    for a, b in zip(here.parameters(), there.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    assert evaluate(Line(device="cuda"), there, data()).examples == 300


def test_measuring_puts_back_nothing_and_leaves_evaluation_mode() -> None:
    model = nn.Sequential(nn.Dropout(0.5))
    Measuring(Line(), model)
    assert not model[0].training


def test_nan_in_a_batch_is_named_rather_than_the_learning_rate() -> None:
    x, y = Line().training_data()
    x[5] = np.inf
    with pytest.raises(TaskFault, match="row 5 of x holds a value that is not finite"):
        trained(Line(), as_arrays((x, y), "training_data"), batch=300)
