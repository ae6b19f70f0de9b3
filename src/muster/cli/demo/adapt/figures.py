"""What the story's models are worth, worked out in a process of its own, on pictures that were in no stream.

`before`: the first model.  `alone`: each camera's labels on their own, with old samples in each batch.
`pooled`: all cameras' labels in one place, without the network, with and without old samples.  The models in
use are taken from the files that the servers answer with.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from muster.cli.demo.baselines import answer, child
from muster.cli.demo.report import AdaptFigures

if TYPE_CHECKING:
    import torch

    from muster.learning.task import Task

ROUND_MOMENTUM = 0.7


async def measured(
    question: dict[str, Any], in_use: Mapping[str, Path], recipe: Mapping[str, float | str], rounds: int
) -> AdaptFigures | str:
    """The figures, or why there are none. `recipe`: of the job that the cameras did together."""
    asked = {
        "in_use": {name: str(path) for name, path in in_use.items()},
        "recipe": {key: float(recipe[key]) for key in ("lr", "batch", "steps", "average")},
        "rounds": rounds,
    }
    found = await child("muster.cli.demo.adapt.figures", question | asked)
    return str(found["why"]) if "why" in found else msgspec.convert(found, AdaptFigures)


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Train alone and pooled, measure all models; runs in the child process."""
    import numpy as np
    import torch

    from muster.cli.demo.adapt.making import accuracy, before, prepared, task_of
    from muster.cli.demo.adapt.world import load
    from muster.learning.trained import trained_module

    torch.set_num_threads(1)  # batches are too small to share
    folder = Path(question["folder"])
    world, task = load(folder / "world.npz"), task_of(question, 0)
    first = trained_module(task, folder / "first.safetensors")
    tests = {"turned": world.test_turned, "upright": world.test_upright}
    inputs = {name: prepared(task, pictures) for name, pictures in tests.items()}

    def both(model: torch.nn.Module) -> dict[str, float]:
        return {name: accuracy(model, x, world.test_labels) for name, x in inputs.items()}

    def share(rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return prepared(task, world.turned[rows]), torch.as_tensor(world.labels[rows])

    old = before(question, len(question["names"]))
    parts = {camera: share(world.learn[camera]) for camera in question["cameras"]}
    pool = share(np.concatenate([world.learn[camera] for camera in question["cameras"]]))
    alone = [both(trained(task, first, part, old, question, 1)) for part in parts.values()]
    places = len(parts)
    return {
        "before": both(first),
        "alone": {name: statistics.mean(one[name] for one in alone) for name in tests},
        "pooled": both(trained(task, first, pool, old, question, places)),
        "pooled_without_replay": both(trained(task, first, pool, None, question, places)),
        "in_use": {
            name: {kind: answered(path, pictures, world.test_labels) for kind, pictures in tests.items()}
            for name, path in question["in_use"].items()
        },
    }


def trained(
    task: Task,
    first: torch.nn.Module,
    new: Sequence[torch.Tensor],
    old: Sequence[torch.Tensor] | None,
    question: dict[str, Any],
    places: int,
) -> torch.nn.Module:
    """One place with the job's recipe, and the batches of `places` nodes together; half of each is old."""
    import torch

    from muster.cli.demo.adapt.making import draws

    recipe, rounds = question["recipe"], question["rounds"]
    steps, batch = int(recipe["steps"]), places * int(recipe["batch"])
    model = copy.deepcopy(first).train()
    base = {name: value.clone() for name, value in model.state_dict().items()}
    moving = {name: torch.zeros_like(value) for name, value in base.items()}
    last: list[dict[str, torch.Tensor]] = []
    fresh = draws(len(new[0]), rounds * steps, batch, question["seed"])
    former = draws(len(old[0]), rounds * steps, batch, question["seed"] + 1) if old is not None else None
    for _ in range(rounds):
        model.load_state_dict(base)
        optimiser = torch.optim.SGD(model.parameters(), recipe["lr"])
        for _ in range(steps):
            rows = next(fresh)
            x, y = new[0][rows], new[1][rows]
            if old is not None and former is not None:
                rows = next(former)
                x, y = torch.cat([x, old[0][rows]]), torch.cat([y, old[1][rows]])
            optimiser.zero_grad()
            task.loss(model(x), y).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        for name, value in model.state_dict().items():
            moving[name] = ROUND_MOMENTUM * moving[name] + value - base[name]
            base[name] = base[name] + moving[name]
        last = [*last[1 - max(1, int(recipe["average"])) :], {k: v.clone() for k, v in base.items()}]
    model.load_state_dict({name: torch.stack([one[name] for one in last]).mean(0) for name in base})
    return model


def answered(path: str, pictures: Any, labels: Any) -> float:
    """The accuracy of a served model's file, 0 to 1."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(["output"], {"input": pictures})
    return int((output.argmax(1) == labels).sum()) / len(labels)


if __name__ == "__main__":
    answer(main)
