"""The request to train: on this node's own data, or on coresets in their place. Tensors go through files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muster.compression import tensors
from muster.compression.change import difference
from muster.learning import local_state, local_training, params
from muster.learning.faults import TaskFault
from muster.learning.sources.coresets import pool
from muster.learning.sources.source import Batches
from muster.node.trainer.open_task import TRIED_STEPS, OpenTask
from muster.node.trainer.session_parts import OnStep, Stepping, fault_of_training
from muster.node.trainer.shared_samples import read_coresets


def train(
    opened: OpenTask,
    on_step: OnStep,
    base: str,
    out: str,
    steps: int,
    lr: float,
    batch: int,
    momentum: float,
    seed: int,
    round: int = 1,
    samples: Sequence[tuple[str, float]] = (),
    own_weight: float = 0.0,
    cosine: bool = False,
) -> dict[str, Any]:
    """At least one step from `base`; the difference goes to `out`, what stays here to `opened.local`.

    The state of optimisers is dropped where the model has been pruned since.

    With `samples` (files of coresets and their weights) it trains on these, and on this node's own data
    if these have an `own_weight`.  Then nothing stays here.
    """
    before = tensors.read(opened.layout, Path(base))
    model, own = opened.loaded(before), opened.data.own
    kept = local_state.load(opened.local)
    own.seek(local_state.place_of(kept))
    data: Batches = own
    if opened.data.borrowed and (own_weight or not samples):
        raise TaskFault("this node has no data of its own: it trains on samples that others share")
    if samples:
        data = pool(read_coresets(opened, samples), own, opened.task.augment, own_weight)
    stepped = Stepping(on_step, steps)
    done = local_training.train(
        opened.task,
        model,
        data,
        steps=steps,
        lr=lr,
        batch=batch,
        momentum=momentum,
        seed=seed,
        round_=round,
        state=None if samples or kept.get("shape", b"") != opened.shape else kept.get("optimizers"),
        cosine=cosine,
        on_step=stepped,
    )
    strayed = opened.travelling.strayed(model)
    if strayed is not None:
        raise TaskFault(
            f"{strayed} changed in training, but not in the {TRIED_STEPS} steps that were tried first, so "
            "that it does not travel: list it in the task's `local`, or let it change from the first step on"
        )
    after = params.arrays_of(model, opened.layout)
    with fault_of_training():
        tensors.check(opened.layout, after)
        update = difference(opened.layout, before, after)
        tensors.write(opened.layout.changes, Path(out), update)
    if not samples:
        stays = {"optimizers": done.state, "place": own.tell(), "tensors": opened.own_tensors(model)}
        local_state.save(opened.local, {**kept, **stays, "shape": opened.shape})
    return stepped.answer(done.steps, done.examples, done.loss, done.skipped)
