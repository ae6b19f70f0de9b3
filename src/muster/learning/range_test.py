"""A learning rate from short trainings: the test that a job without a rate begins with.

Trainings of a few steps from the same model, on the same batches, at rates from high to low (the range test
of Smith, WACV 2017, arXiv 1506.01186, from one start each time).  What is compared is the loss of the last
steps, on batches that the model has not seen yet, with that of a model that stays as it is.  The numbers were
chosen by bench/learning/range_test.py.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Any

from torch import nn

from muster.learning import local_training
from muster.learning.faults import TaskFault
from muster.learning.sources.source import Source
from muster.learning.sources.trees import Batch, bytes_of
from muster.learning.task import Task

HIGHEST, FACTOR = 10.0**1.5, 10.0**0.5  # 32, 10, 3.2 and so on
RATES_MAX = 18  # down to 1e-7
STEPS, STEPS_MIN = 12, 6  # of a rate; the last third of them count
STEPS_MAX = 120  # in all
RATES_USUAL = 8  # that the time has to suffice for
DIVERGED = 20.0  # times the loss of the start: what comes back from there is no good model
GAIN_MIN = 0.01  # of the loss, by which the best rate has to be better than none
BEYOND = 0.8  # of the step down to the next rate is taken where the next one up diverges
SHARE = 1.7  # of the rate that is best over so few steps: a round's mean over nodes bears more
KEPT_BYTES_MAX = 64_000_000  # of batches

Trial = Callable[[float, int], list[float]]  # a rate, a number of steps -> their losses, fewer if it diverged


class NoRate(Exception):
    """No rate can be found; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class RangeTest:
    """What was found. `lr` None: nothing, for the reason `why`; `low` to `high` were tried."""

    lr: float | None
    low: float = 0.0
    high: float = 0.0
    steps: int = 0
    why: str = ""


# ---- which rate --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tried:
    """One rate. `loss`: that of its later steps; infinite if it diverged."""

    lr: float
    loss: float


def search(trial: Trial, steps: int, in_time: Callable[[], bool] = lambda: True) -> RangeTest:
    """From high rates down, to where lower ones gain less and less; then between the best and its neighbours.

    Raises NoRate.
    """
    still = trial(0.0, steps)
    idle = _last(still, steps)
    if not math.isfinite(idle):
        raise NoRate("the loss is not finite before any training")
    tried: list[Tried] = []
    taken = steps
    for k in range(RATES_MAX):
        lr = HIGHEST * math.pow(FACTOR, -k)
        losses = trial(lr, steps)
        taken += len(losses)
        if losses == still:
            raise NoRate("it makes no difference to what a few steps do")
        tried.append(Tried(lr, _last(losses, steps)))
        if _passed(tried, idle) or taken + steps > STEPS_MAX or not in_time():
            break
    return RangeTest(_between(tried, idle), tried[-1].lr, tried[0].lr, taken)


def _last(losses: list[float], steps: int) -> float:
    """The loss of the last third; infinite where the training did not get so far.

    Half of it is the median, as one step may go wrong, and half the mean, as not many should.
    """
    last = losses[steps - steps // 3 :]
    sound = len(losses) == steps and all(map(math.isfinite, last))
    return (median(last) + fmean(last)) / 2 if sound else math.inf


def _best(tried: list[Tried]) -> int:
    return min(range(len(tried)), key=lambda i: tried[i].loss)


def _passed(tried: list[Tried], idle: float) -> bool:
    """Whether the last two rates gain less than the best one, and the lower of them least: what is below
    gains still less. A loss above that of no training is chance, after steps that were too large."""
    return len(tried) - 1 - _best(tried) >= 2 and tried[-2].loss < tried[-1].loss < idle


def _between(tried: list[Tried], idle: float) -> float:
    """The lowest point of a parabola through the least loss and its neighbours, times `SHARE`."""
    best = _best(tried)
    gain = idle - tried[best].loss
    if gain == -math.inf:
        raise NoRate("no rate that was tried keeps the loss finite")
    if gain < GAIN_MIN * abs(idle):
        raise NoRate("a few steps hardly change the loss, at any rate")
    if best == len(tried) - 1:
        raise NoRate("there was no time for enough rates")
    if best == 0:
        return tried[0].lr
    over = [(tried[i].loss - tried[best].loss) / gain for i in (best - 1, best + 1)]
    above, below = map(math.log1p, over)
    shift = BEYOND if above == math.inf else 0.5 * (above - below) / max(above + below, 1e-9)
    return SHARE * tried[best].lr * math.pow(FACTOR, -shift)


# ---- of a task ---------------------------------------------------------------------------------------


def find_rate(
    task: Task,
    fresh: Callable[[], nn.Module],
    data: Source,
    *,
    batch: int,
    momentum: float,
    seed: int,
    seconds: float,
    on_step: Callable[[int], None] = lambda steps: None,
    clock: Callable[[], float] = time.perf_counter,
) -> RangeTest:
    """The rate that trainings of `fresh()` on `data` speak for, in about `seconds` at most.

    It is that of a node with `lr_scale` 1.  The task's own attributes and its data's place are as before.
    `on_step(steps done)` may raise, which ends it.  Raises what the task raises.
    """
    if not task.automatic_optimization:
        return RangeTest(None, why="the task steps its optimisers itself")
    ends_s, place = clock() + seconds, data.tell()
    trials = _Trials(task, fresh, data, batch, momentum, seed, on_step, dict(vars(task)))
    try:
        step_s = trials.step_s(clock)
        steps = min(STEPS, int(seconds / step_s / RATES_USUAL)) if step_s > 0 else STEPS
        if steps < STEPS_MIN:
            return RangeTest(None, why=f"at {step_s:.2g} s a step it would take too long to find one")
        found = search(trials.losses, steps, lambda: clock() < ends_s)
        return replace(found, lr=float(f"{found.lr:.2g}"))
    except NoRate as error:
        return RangeTest(None, why=str(error))
    finally:
        trials.as_before()
        if place is not None:
            data.seek(place)


@dataclass
class _Trials:
    """Short trainings from one start on the same batches."""

    task: Task
    fresh: Callable[[], nn.Module]
    data: Source
    batch: int
    momentum: float
    seed: int
    on_step: Callable[[int], None]
    attributes: dict[str, Any]  # of the task, as they were
    kept: list[Batch] | None = None
    done: int = 0

    def step_s(self, clock: Callable[[], float]) -> float:
        """Seconds of a step; the first builds kernels and caches."""
        training = self._begun(0.0)
        local_training.step(training)
        began_s = clock()
        local_training.step(training)
        took_s = clock() - began_s
        self.on_step(self.done)
        return took_s

    def losses(self, lr: float, steps: int) -> list[float]:
        """Of each step before it was taken, up to the one that diverged."""
        training, found = self._begun(lr), list[float]()
        while len(found) < steps:
            try:
                found.append(local_training.step(training))
            except (TaskFault, ValueError, ArithmeticError, RuntimeError):
                if not found:  # not for the rate: no step was taken yet
                    raise
                found.append(math.nan)
            self.done += 1
            self.on_step(self.done)
            if not abs(found[-1]) <= DIVERGED * max(1.0, abs(found[0])):
                break
        return found

    def _begun(self, lr: float) -> local_training.LocalTraining:
        self.as_before()
        lr /= self.task.settings.lr_scale
        training = local_training.init(
            self.task, self.fresh(), self.data, lr=lr, batch=self.batch, momentum=self.momentum,
            seed=self.seed,
        )  # fmt: skip
        training.optimisers.without_schedules()
        if self.kept is None:
            self.kept = _some(training.batches)
        training.batches = itertools.cycle(self.kept)
        return training

    def as_before(self) -> None:
        """Give the task the attributes that it had: what it counts or averages here is of no job."""
        vars(self.task).clear()
        vars(self.task).update(self.attributes)


def _some(batches: Iterator[Batch]) -> list[Batch]:
    """So many as a rate needs, as far as they fit into memory."""
    found, size_bytes = list[Batch](), 0
    for batch in itertools.islice(batches, STEPS):
        found.append(batch)
        size_bytes += bytes_of(batch.data)
        if size_bytes > KEPT_BYTES_MAX:
            break
    return found
