"""Makes what the story begins with, in a process of its own: the pictures, and the model that all nodes use.

Later the candidate that nobody should use: the model in use, trained on where half of the labels are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muster.cli.demo.baselines import answer
from muster.cli.demo.stories.adapt import PARTS

if TYPE_CHECKING:
    import torch

    from muster.cli.demo.adapt.world import World
    from muster.learning.task import Task


SAMPLES_MAX, RATE = 30_000, 3e-3  # of the first training; the rate falls to 0
STEPS_MAX, EPOCHS_MAX = 900, 16  # more of them, and it is too sure of what it has not seen
BATCH = 32
WRONG = 0.5  # of the labels of the bad candidate
WRONG_STEPS, WRONG_LR = 150, 0.05


def task_of(question: dict[str, Any], part: int) -> Task:
    """The task with a node's part of the data."""
    from muster.learning.task import load

    return load(question["task"], question["options"] | {"part": part, "parts": PARTS})


def before(question: dict[str, Any], nodes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the nodes have from the beginning, all together: model inputs and labels."""
    import torch

    parts = [task_of(question, part).training_data() for part in range(nodes)]
    x, y = (torch.cat([torch.as_tensor(part[k]) for part in parts]) for k in (0, 1))
    return x[:SAMPLES_MAX], y[:SAMPLES_MAX]


def world_of(question: dict[str, Any]) -> World:
    """The pictures that no node trains on at first, as a camera has them."""
    import numpy as np

    from muster.algorithms import splits
    from muster.cli.demo.adapt.world import made
    from muster.learning import digits, mnist

    task = task_of(question, 0)
    if task.name == "mnist":
        assert task.data is not None
        pictures, labels = mnist.load(task.data, "train")
        test, test_labels = mnist.load(task.data, "test")
    else:
        x, y = digits.load()
        pixels = np.rint(x[:, 0] * digits.DEVIATION + digits.MEAN).astype(np.uint8)
        kept, held = splits.holdout(y, digits.EVALUATION_SHARE, digits.EVALUATION_SEED)
        (pictures, labels), (test, test_labels) = (pixels[kept], y[kept]), (pixels[held], y[held])
    shares = splits.split(labels, task.split, PARTS, task.seed)
    rows = np.concatenate(shares[len(question["names"]) :])
    return made(pictures[rows], labels[rows], test, test_labels, question["cameras"], question["seed"])


def prepared(task: Task, pictures: Any) -> torch.Tensor:
    """Pictures as the model takes them."""
    import torch

    found: torch.Tensor = task.prepare(torch.as_tensor(pictures))
    return found


def accuracy(model: torch.nn.Module, x: torch.Tensor, y: Any) -> float:
    """0 to 1."""
    import torch

    model.eval()
    with torch.no_grad():
        return int((model(x).argmax(1) == torch.as_tensor(y)).sum()) / len(x)


def draws(count: int, steps: int, batch: int, seed: int) -> Iterator[Any]:
    """Places of `steps` batches, epoch after epoch."""
    import numpy as np

    random = np.random.default_rng((seed, 21))
    left = np.zeros(0, np.int64)
    for _ in range(steps):
        while len(left) < batch:
            left = np.concatenate([left, random.permutation(count)])
        yield left[:batch]
        left = left[batch:]


def first(question: dict[str, Any]) -> dict[str, Any]:
    """Write `world.npz` and `first.safetensors` into the folder; how good the model is, 0 to 1."""
    import torch

    from muster.cli.demo.adapt.world import save
    from muster.learning.params import fresh_model

    folder = Path(question["folder"])
    world = world_of(question)
    save(world, folder / "world.npz")
    task = task_of(question, 0)
    x, y = before(question, len(question["names"]))
    model = fresh_model(task, question["seed"])
    steps = min(STEPS_MAX, EPOCHS_MAX * len(x) // BATCH)
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    model.train()
    for rows in draws(len(x), steps, BATCH, question["seed"]):
        optimiser.zero_grad()
        task.loss(model(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        falling.step()
    written(task, model, folder / "first.safetensors")
    tests = (world.test_upright, world.test_turned)
    return {
        name: accuracy(model, prepared(task, x), world.test_labels)
        for name, x in zip(("upright", "turned"), tests, strict=True)
    }


def wrong(question: dict[str, Any]) -> dict[str, Any]:
    """Write `wrong.safetensors`: the model in the file `model`, trained on with half of the labels wrong."""
    import numpy as np
    import torch

    from muster.cli.demo.adapt.world import CLASSES, load
    from muster.learning.trained import trained_module

    folder = Path(question["folder"])
    world, task = load(folder / "world.npz"), task_of(question, 0)
    model = trained_module(task, Path(question["model"]))
    rows = np.concatenate([world.learn[name] for name in question["cameras"]])
    x, y = prepared(task, world.turned[rows]), world.labels[rows].copy()
    random = np.random.default_rng((question["seed"], 22))
    bad = random.permutation(len(y))[: round(WRONG * len(y))]
    y[bad] = (y[bad] + random.integers(1, CLASSES, len(bad))) % CLASSES
    labels = torch.as_tensor(y)
    optimiser = torch.optim.SGD(model.parameters(), WRONG_LR, 0.9)
    model.train()
    for batch in draws(len(x), WRONG_STEPS, BATCH, question["seed"]):
        optimiser.zero_grad()
        task.loss(model(x[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    written(task, model, folder / "wrong.safetensors")
    return {"turned": accuracy(model, prepared(task, world.test_turned), world.test_labels)}


def written(task: Task, model: torch.nn.Module, path: Path) -> None:
    """A model as a file that `muster use` takes."""
    from muster.learning.export import save_safetensors
    from muster.learning.params import arrays_of, layout_of

    layout = layout_of(model)
    save_safetensors(path, layout, arrays_of(model, layout), {"task": task.name, "version": task.version})


def main(question: dict[str, Any]) -> dict[str, Any]:
    """What the question's `make` asks for; runs in the child process."""
    import torch

    torch.set_num_threads(1)  # batches are too small to share
    return {"first": first, "wrong": wrong}[question["make"]](question)


if __name__ == "__main__":
    answer(main)
