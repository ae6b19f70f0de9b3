"""The learning rate that short trainings speak for: which one is chosen, and that nothing else changes."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset
from toys import Plain, Toy, data

from muster.learning import local_training, params
from muster.learning.data import open_data
from muster.learning.range_test import STEPS_MAX, NoRate, RangeTest, Trial, find_rate, search
from muster.learning.sources.source import Source, as_source
from muster.learning.task import Task

ASKED: dict[str, Any] = {"batch": 16, "momentum": 0.0, "seed": 3, "seconds": 1000.0}


def found(task: Task, source: Source | None = None, **changes: Any) -> RangeTest:
    own = data() if source is None else source
    return find_rate(task, lambda: params.fresh_model(task, 0), own, **(ASKED | changes))


# ---- which rate --------------------------------------------------------------------------------------


def bowl(*bends: float, least: float = 0.0) -> Trial:
    """Gradient descent on a quadratic with these second derivatives: stable below 2 / the largest."""

    def losses(lr: float, steps: int) -> list[float]:
        at, seen = np.ones(len(bends)), []
        for _ in range(steps):
            seen.append(float((at**2 * bends).sum() / 2 + least))
            at = at * (1 - lr * np.array(bends))
            if abs(seen[-1]) > 20 * max(1.0, abs(seen[0])):
                break
        return seen

    return losses


@pytest.mark.parametrize("bend", [0.3, 1.0, 30.0, 1e3, 1e5])
def test_it_is_as_large_as_the_loss_bears(bend: float) -> None:
    lr = search(bowl(bend, bend / 3, bend / 10), 12).lr
    assert lr is not None
    assert 0.5 / bend < lr < 2.0 / bend


def test_a_loss_may_have_any_level() -> None:
    rates = [search(bowl(3.0, 1.0, least=least), 12).lr for least in (0.0, 5.0, -40.0)]
    assert rates == pytest.approx([rates[0]] * 3, rel=1e-6)


def test_what_a_ruined_model_learns_is_no_sign_of_a_good_rate() -> None:
    """Far too large steps leave a loss that stays as it is, by chance here and there below the first one."""
    flat = {31.6: 1.6, 10.0: 1.5, 3.16: 1.7, 1.0: 1.8}

    def losses(lr: float, steps: int) -> list[float]:
        level = next((value for rate, value in flat.items() if math.isclose(rate, lr, rel_tol=0.01)), None)
        return bowl(60.0, 20.0, least=0.3)(lr, steps) if level is None else [level * 30] * steps

    lr = search(losses, 12).lr
    assert lr is not None
    assert 0.008 < lr < 0.034


@pytest.mark.parametrize(
    ("trial", "why"),
    [
        (lambda lr, steps: [2.0] * steps, "no difference"),
        (lambda lr, steps: [2.0 - 1e-4 * lr] * steps, "hardly change"),
        (lambda lr, steps: [2.0] * steps if lr == 0 else [2.0, math.inf], "finite"),
        (lambda lr, steps: [math.nan], "before any training"),
        (lambda lr, steps: [2.0] * 6 + [2.0 + lr] * (steps - 6), "hardly change"),
    ],
)
def test_where_nothing_can_be_told_it_says_why(trial: Trial, why: str) -> None:
    with pytest.raises(NoRate, match=why):
        search(trial, 12)


def test_it_ends_in_time() -> None:
    began: list[float] = []

    def counted(lr: float, steps: int) -> list[float]:
        began.append(lr)
        return bowl(1e3)(lr, steps)

    with pytest.raises(NoRate, match="finite"):
        search(counted, 12, lambda: len(began) < 3)
    assert len(began) == 3
    began.clear()
    with pytest.raises(NoRate, match="no time"):  # the lowest that was tried is the first that is stable
        search(counted, 12, lambda: len(began) < 11)
    assert search(bowl(1e5, 1e4), 12).steps <= STEPS_MAX


# ---- of a task ---------------------------------------------------------------------------------------


class Adam(Plain):
    def configure_optimizers(self, parameters: Any, lr: float) -> Any:
        return torch.optim.AdamW(parameters, lr=lr)


@pytest.mark.parametrize("kind", [Toy, Plain, Adam])
def test_it_trains_as_well_as_any_rate_of_a_grid(kind: type[Task]) -> None:
    """Ten rates over three decades, two times as far as the test looks."""
    task = kind()
    lr = found(task).lr
    assert lr is not None

    def after(rate: float) -> float:
        model = params.fresh_model(task, 0)
        losses: list[float] = []
        local_training.train(
            task, model, data(), steps=30, lr=rate, batch=16, seed=8, on_step=lambda n, x: losses.append(x)
        )
        return sum(losses[-10:]) / 10

    grid = [after(float(rate)) for rate in np.geomspace(1e-3, 1, 10)]
    assert after(lr) < min(grid) + 0.1 * (max(grid) - min(grid))


def test_a_seed_says_it_all_and_the_nodes_own_factor_nothing() -> None:
    first = found(Toy())
    assert found(Toy()) == first
    assert found(Toy(), seed=4) != first
    scaled = Toy(lr_scale=0.25)
    assert found(scaled).lr == first.lr


class WarmedUp(Adam):
    def configure_optimizers(self, parameters: Any, lr: float) -> Any:
        adam = super().configure_optimizers(parameters, lr)
        return adam, torch.optim.lr_scheduler.LinearLR(adam, 0.01, total_iters=500)


class OneCycle(Adam):
    def configure_optimizers(self, parameters: Any, lr: float) -> Any:
        adam = super().configure_optimizers(parameters, lr)
        return adam, torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=lr, total_steps=500)


@pytest.mark.parametrize("kind", [WarmedUp, OneCycle])
def test_a_warm_up_hides_no_rate_that_is_too_high(kind: type[Task]) -> None:
    """Its first steps are small, those of later rounds are not."""
    assert found(kind()).lr == pytest.approx(found(Adam()).lr, rel=0.3)


class Stubborn(Adam):
    def configure_optimizers(self, parameters: Any, lr: float) -> Any:
        return torch.optim.AdamW(parameters, lr=0.01)


def test_a_task_with_a_rate_of_its_own_needs_none() -> None:
    answer = found(Stubborn())
    assert (answer.lr, answer.why) == (None, "it makes no difference to what a few steps do")


class Counting(Plain):
    """Keeps things of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rounds, self.shadow = 0, None

    def on_round_begin(self, model: nn.Module, round: int) -> None:
        self.rounds += 1
        self.shadow = copy.deepcopy(model)


class Numbers(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        rng = np.random.default_rng(1)
        for _ in range(5000):
            y = int(rng.integers(3))
            yield (rng.normal(size=2) + 4 * np.eye(3)[y][:2]).astype(np.float32), y


def test_task_model_and_data_are_as_before() -> None:
    task, source = Counting(), as_source(Numbers(), "training_data")
    source.seek([0, 5])
    model = params.fresh_model(task, 0)
    before, attributes = copy.deepcopy(model.state_dict()), dict(vars(task))
    assert find_rate(task, lambda: copy.deepcopy(model), source, **ASKED).lr is not None
    assert vars(task) == attributes
    assert source.tell() == [0, 5]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_interrupted_one_leaves_nothing_either() -> None:
    task = Counting()

    def stop(steps: int) -> None:
        if steps == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(task, on_step=stop)
    assert (task.rounds, task.shadow, task.optimizers) == (0, None, ())


class Steps(Plain):
    automatic_optimization = False


def test_tasks_that_step_themselves_and_slow_ones_have_none() -> None:
    assert "itself" in found(Steps()).why
    seconds = iter(range(0, 10_000, 2))
    slow = found(Plain(), seconds=10.0, clock=lambda: float(next(seconds)))
    assert slow.lr is None
    assert "2 s a step" in slow.why
    ticks = iter(range(10_000))
    shorter = found(Plain(), seconds=60.0, clock=lambda: float(next(ticks)))
    assert shorter.lr is not None
    assert shorter.steps < found(Plain()).steps


class Fragile(Plain):
    """Its loss is no number once the weights are large; it cannot even be computed when they are larger."""

    def loss(self, output: Any, target: Any) -> torch.Tensor:
        largest = float(output.detach().abs().max())
        if largest > 1e3:
            raise RuntimeError("out of range")
        return super().loss(output, target) * (math.nan if largest > 50 else 1.0)


def test_rates_that_break_the_loss_are_too_high() -> None:
    lr, task = found(Fragile()).lr, Fragile()
    assert lr is not None
    model = params.fresh_model(task, 0)
    assert local_training.train(task, model, data(), steps=30, lr=lr, batch=16, seed=8).loss < 1


class Broken(Plain):
    def loss(self, output: Any, target: Any) -> torch.Tensor:
        raise RuntimeError("never works")


def test_a_fault_that_no_rate_makes_comes_out() -> None:
    with pytest.raises(RuntimeError, match="never works"):
        found(Broken())


class One(Toy):
    def training_data(self) -> tuple[Any, Any]:
        x, y = super().training_data()
        return x[:1], y[:1]

    def evaluation_data(self) -> tuple[Any, Any]:
        return super().training_data()


def test_one_sample_with_batch_norm_ends_with_a_rate_or_a_reason() -> None:
    task = One()
    answer = found(task, open_data(task).own)
    assert answer.lr is not None or answer.why
