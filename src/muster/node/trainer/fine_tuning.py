"""The request to train a model further for this node alone: nothing of it travels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muster.compression import tensors
from muster.learning import local_training, params
from muster.node.trainer.open_task import OpenTask
from muster.node.trainer.session_parts import OnStep, Stepping, fault_of_training


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
    stepped = Stepping(on_step, steps)
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
    return stepped.answer(done.steps, done.examples, done.loss, done.skipped)
