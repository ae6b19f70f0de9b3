"""What the courier's story compares, worked out in a process of its own: everybody present, and both acts.

Each model is measured on all of the common evaluation set, and on the classes that only the posts have.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from muster.cli.demo.baselines import answer, child, task_of
from muster.cli.demo.outcome import Played
from muster.cli.demo.preparation import DemoRequest
from muster.cli.demo.report import CourierFigures


async def courier_figures(request: DemoRequest, acts: Sequence[Played]) -> CourierFigures | str:
    """The figures of a story that was played, or why there are none.

    Where everybody is present as many rounds are done as in the last act, and as many steps.
    """
    names, job = request.scenario.names(), acts[-1].job
    updates = sum(c.updates_counted for c in job.contributions)
    if not updates or request.story is None:
        return "no node did a step"
    recipe = {key: job.recipe[key] for key in ("lr", "batch", "seed", "momentum", "lr_end", "average")}
    question = task_of(request) | {
        "recipe": recipe,
        "rounds": job.round,
        "steps": max(1, round(sum(c.steps for c in job.contributions) / updates)),
        "names": list(names),
        "posts": list(request.story.unreached),
        "acts": [[act.title, act.exported.paths[0]] for act in acts],
    }
    found = await child("muster.cli.demo.stories.courier_figures", question)
    return str(found["why"]) if "why" in found else msgspec.convert(found, CourierFigures)


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Train with everybody present, measure all models; runs in the child process."""
    import numpy as np
    import torch

    from muster.learning import all_present
    from muster.learning.data import open_data
    from muster.learning.evaluation import evaluate
    from muster.learning.faults import TaskFault
    from muster.learning.loading import load
    from muster.learning.sources.arrays import ArraySource
    from muster.learning.trained import trained_module
    from muster.protocol.parts import Recipe

    torch.set_num_threads(1)  # batches are too small to share
    names, plain = question["names"], question["recipe"]
    recipe = Recipe(
        plain["lr"], int(plain["batch"]), 0, int(plain["seed"]), plain["momentum"],
        lr_end=plain["lr_end"], average=int(plain["average"]),
    )  # fmt: skip
    task = load(question["task"], question["options"] | {"part": 0, "parts": len(names)})
    parts: list[ArraySource] = []
    labels: list[set[int]] = []  # of each part
    common = open_data(task).common
    for part in range(len(names)):
        own = open_data(load(question["task"], question["options"] | {"part": part, "parts": len(names)})).own
        if not isinstance(own, ArraySource) or own.labels is None:
            raise TaskFault(f"the story needs classes, and the data of {task.name} has none")
        parts.append(own)
        labels.append({*own.labels.tolist()})
    if not isinstance(common, ArraySource) or common.labels is None:
        raise TaskFault(f"the task {task.name} has no common evaluation set to compare on")
    classes = {name: sorted(labels[names.index(name)]) for name in question["posts"]}
    rare = np.flatnonzero(np.isin(common.labels, [label for found in classes.values() for label in found]))
    places = rare if common.rows is None else common.rows[rare]
    posts = ArraySource(common.tree, common.total, places, common.checked)

    def measured(title: str, model: torch.nn.Module) -> dict[str, Any]:
        both = [evaluate(task, model, data).accuracy for data in (common, posts)]
        return {"title": title, "accuracy": both[0], "accuracy_posts": both[1]}

    present = all_present.trained(task, parts, recipe, question["rounds"], question["steps"])
    rows = [measured("everybody present", present)]
    rows += [measured(title, trained_module(task, Path(path))) for title, path in question["acts"]]
    return {"classes": classes, "rows": rows}


if __name__ == "__main__":
    answer(main)
