"""The request to train a model further for this node alone: nothing of it travels."""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from typing import Any

from muster.compression import tensors
from muster.learning import local_training, params
from muster.node.trainer.open_task import OpenTask
from muster.node.trainer.session_parts import OnStep, fault_of_training


def fine_tune(
    opened: OpenTask,
    on_step: OnStep,
    base: str,
    out: str,
    steps: int,
    lr: float,
    batch: int,
    momentum: float,
    seed: int,
) -> dict[str, Any]:
    """`steps` steps from `base`; the whole model goes to `out`. What the job keeps here stays as it is."""
    model = opened.loaded(tensors.read(opened.layout, Path(base)))
    times_s = [time.perf_counter()]

    def stepped(n: int, loss: float) -> None:
        times_s.append(time.perf_counter())
        on_step({"done": n, "of": steps, "loss": loss})

    done = local_training.train(
        opened.task,
        model,
        opened.data.own,
        steps=steps,
        lr=lr,
        batch=batch,
        momentum=momentum,
        seed=seed,
        on_step=stepped,
    )
    with fault_of_training():
        tensors.write(opened.layout, Path(out), params.arrays_of(model, opened.layout), synced=True)
    step_s = statistics.median(after - before for before, after in itertools.pairwise(times_s))
    said = {"steps": done.steps, "examples": done.examples, "loss": done.loss, "step_s": step_s}
    return said | {"skipped": done.skipped}
