"""The trainer's requests about shared samples: to make this node's, to look at others', to train on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muster.coresets.coding.error import CoresetError
from muster.coresets.coreset import Coreset
from muster.coresets.exchange import Data, differs, make, read
from muster.learning.faults import TaskFault
from muster.learning.shared_samples import NO_PAIR, travelling
from muster.learning.sources.arrays import ArraySource
from muster.learning.sources.trees import bytes_of
from muster.node.trainer.open_task import OpenTask
from muster.node.trainer.session_parts import OnStep
from muster.protocol.validation.limits import SHARED_BYTES_MAX

LOOKED_AT = 2000  # samples of this node, which say where a task's samples lie
KEPT_BYTES_MAX = 32_000_000  # of coresets that were read
DATA_BYTES_MAX = 128_000_000  # of samples that a coreset is made of


def make_samples(
    opened: OpenTask,
    on_step: OnStep,
    out: str,
    bytes_max: int,
    means_only: bool,
    labels: list[int] | None,
    seed: int,
) -> dict[str, Any]:
    """Write a coreset of what is trained on, never of what is held out, to `out`; or say `why` not."""
    own = opened.data.own
    if opened.data.borrowed:
        return {"why": "this node has no data of its own"}
    if not isinstance(own, ArraySource):
        return {"why": NO_PAIR}
    data = _travelling(opened, max(1, DATA_BYTES_MAX // bytes_of(own.example(1).data)))
    on_step({"done": 0, "of": 1})
    made = data if isinstance(data, str) else make(data, bytes_max, means_only, labels, seed)
    on_step({"done": 1, "of": 1})
    if isinstance(made, str):
        return {"why": made}
    with Path(out).open("wb") as file:
        file.write(made.message)
        file.flush()
        os.fsync(file.fileno())
    return {"kind": made.kind, "samples": made.samples, "stands_for": made.stands_for, "bits": made.bits}


def check_samples(opened: OpenTask, on_step: OnStep, path: str, kind: str, samples: int) -> dict[str, Any]:
    """What is wrong with a coreset of which its record says so much; "": nothing."""
    data = _travelling(opened)
    if isinstance(data, str):
        return {"fault": f"this node can train on no shared samples: {data}"}
    try:
        return {"fault": differs(_read(opened, data, path), kind, samples)}
    except CoresetError as error:
        return {"fault": str(error)}


def read_coresets(opened: OpenTask, samples: Sequence[tuple[str, float]]) -> list[tuple[Coreset, float]]:
    """The coresets in these files, each with its weight. Raises TaskFault for one that does not fit."""
    data = _travelling(opened)
    if isinstance(data, str):
        raise TaskFault(f"samples of other nodes cannot be trained on here: {data}")
    try:
        return [(_read(opened, data, path), weight) for path, weight in samples]
    except CoresetError as error:
        raise TaskFault(f"samples of another node do not fit the task here: {error}") from error


def _travelling(opened: OpenTask, count: int = LOOKED_AT) -> Data | str:
    """So many of this node's samples, or all."""
    return travelling(opened.task, opened.working_model(), opened.data.own, count)


def _read(opened: OpenTask, data: Data, path: str) -> Coreset:
    """The coreset in a file whose name is its content's: reading a large one takes as long as a round.

    Raises CoresetError.
    """
    known = opened.coresets
    if path not in known:
        found = read(data, _message(path))
        while known and sum(c.levels.nbytes for c in known.values()) + found.levels.nbytes > KEPT_BYTES_MAX:
            known.pop(next(iter(known)))
        known[path] = found
    return known[path]


def _message(path: str) -> bytes:
    """Raises CoresetError for a file that is too large."""
    file = Path(path)
    if file.stat().st_size > SHARED_BYTES_MAX:
        raise CoresetError(f"it has over {SHARED_BYTES_MAX} bytes")
    return file.read_bytes()
