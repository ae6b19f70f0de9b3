"""The public functions of `import muster` (`muster.__all__`).

    import muster

    result = muster.train("digits", rounds=20)
    print(result.accuracy)
    result.export("model.safetensors")

It asks a node that runs on this machine (`muster node`), as the command `muster train` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muster.cli.commands.train import beginning
from muster.cli.follow import ask, follow
from muster.node.api.client import Client, choose
from muster.node.api.snapshot import JobSnapshot, NodeEvent


@dataclass(frozen=True)
class Result:
    """A job that has ended. `metrics`: what was measured on held-out data, by name.

    `accuracy` is one of them, 0..1; None where the task has none, or nothing was measured.
    """

    job: str
    accuracy: float | None
    rounds: int
    metrics: dict[str, float]
    view: JobSnapshot
    client: Client

    def export(self, to: str | os.PathLike[str]) -> list[Path]:
        """Write the model: FILE.safetensors, FILE.onnx, or both for a name without suffix."""
        return [Path(path) for path in self.client.export(self.job, Path(to).expanduser().absolute()).paths]


def train(
    task: str,
    *,
    start: str | os.PathLike[str] | None = None,
    node: str | None = None,
    timeout_s: float | None = None,
    on_event: Callable[[NodeEvent], None] | None = None,
    **options: Any,
) -> Result:
    """Train `task` with every node in reach of `node` (a name or home) and wait for the end.

    `start`: parameters to begin with, a safetensors file or a commit (hex digits).  Options, as of
    `muster train`: rounds, target (0.95 or "loss=0.2"), stop_when ("no better for 10"), seconds, bytes; lr,
    lr_end, batch, steps, seed, momentum, server_momentum, average, codec, down_codec; min_nodes, patience_s,
    linger_s.  Raises MusterError.
    """
    client = choose(node)
    if start is not None:
        options["from"] = beginning(os.fspath(start))
    since = client.snapshot().event
    job, since = ask(client, task, options, since, on_event)
    view = follow(client, job, since, quiet=True, timeout_s=timeout_s, on_event=on_event)
    return Result(job, view.accuracy, view.round, view.figures, view, client)
