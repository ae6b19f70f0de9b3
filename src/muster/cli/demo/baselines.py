"""The yardsticks of a demo, worked out in a process of their own: JSON in, JSON out.

torch is imported there, so that the demo's own process stays small, and Ctrl-C ends it at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from muster.cli.demo.preparation import DemoRequest, task_name, task_options
from muster.node.api.snapshot import JobSnapshot

LIMIT_S = 900.0


async def baselines(request: DemoRequest, job: JobSnapshot) -> dict[str, Any]:
    """{"best_single", "best_name", "pooled"} (figures by metric), or {"why": one sentence} without them."""
    names = request.scenario.names()
    done = {c.node: c.steps for c in job.contributions}
    steps = [done.get(name, 0) for name in names]
    if not any(steps):
        return {"why": "no node did a step"}
    recipe = {key: job.recipe[key] for key in ("lr", "batch", "seed", "momentum")}
    found = await child("muster.cli.demo.baselines", task_of(request) | {"recipe": recipe, "steps": steps})
    return found if "why" in found else found | {"best_name": names[found["best"]]}


def task_of(request: DemoRequest) -> dict[str, Any]:
    """The task and its options, but for the part of a node."""
    is_file = request.task != task_name(request.task)
    options = {k: v for k, v in task_options(request, 0).items() if k not in ("part", "parts")}
    return {"task": str(Path(request.task).absolute()) if is_file else request.task, "options": options}


async def child(module: str, question: dict[str, Any]) -> dict[str, Any]:
    """What `module` answers to a question, in a process of its own; {"why": one sentence} if it cannot."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            out, error = await process.communicate(json.dumps(question).encode())
    except TimeoutError:
        return {"why": f"the comparison took over {LIMIT_S:g} s"}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = error.decode("utf-8", "replace").strip().splitlines()
        return {"why": lines[-1] if lines else f"it ended with {process.returncode}"}
    found: dict[str, Any] = json.loads(out)
    return found


def answer(main: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The other end of `child`: JSON from stdin through `main` to stdout."""
    said = json.dumps(main(json.load(sys.stdin)))
    sys.stdout.write(said + "\n")
    sys.stdout.flush()
    os._exit(0)  # torch's threads need no farewell


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Train alone and together as the question says; runs in the child process."""
    import torch

    from muster.learning.comparing import for_task
    from muster.protocol.parts import Recipe

    # Batches of a demo's size are too small to share: on a busy machine threads only wait for one another.
    torch.set_num_threads(1)
    steps: Sequence[int] = question["steps"]
    plain = question["recipe"]
    recipe = Recipe(plain["lr"], int(plain["batch"]), 0, int(plain["seed"]), plain["momentum"])
    found = for_task(question["task"], question["options"], len(steps), recipe, steps)
    return {
        "best_single": found.alone[found.best],
        "best": found.best,
        "pooled": found.pooled,
        "steps": found.pooled_steps,
    }


if __name__ == "__main__":
    answer(main)
