"""Asking nodes with a like need to adapt a model in use together."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from muster.adaptation.likeness import SAMPLES_MIN
from muster.errors import MusterError
from muster.node.api.job_description import requested
from muster.node.api.job_requests import Like, ask_for
from muster.node.catalogue import Catalogue
from muster.node.core import Core
from muster.protocol.ids import JobId
from muster.storage.store import StorageError

# Four nodes with 50 labels each, of 4 of MNIST's 10 classes turned by 60 degrees: 31 % become 87, and 90 with
# all labels in one place. Without the old samples the old conditions fall from 99 to 48 %; with them to 97.
ROUNDS, STEPS, BATCH, REPLAY, AVERAGE = 15, 10, 16, 16, 3


async def ask_adapt(
    core: Core,
    catalogue: Catalogue,
    task: str,
    start: str,
    *,
    by_hand: bool = False,
    unless: Callable[[], str] = str,
) -> JobId:
    """Ask all nodes to which the same happened as to this one to train with it, from the model that it uses:
    `start` is a commit's id or the path of a .safetensors file. This node's `Need` must be published.

    `by_hand`: a person asks, whatever the owner's budget of the day says. `unless()`: why it is not to be
    asked for any more, "" if it is: looked at when all is ready, as a trainer may take a minute to start.
    Raises MusterError: "refused" where the budget is spent or there is no need that others can be like.
    """
    need = core.field.need(core.node, task)
    if need is None or need.over:
        raise MusterError("refused", f"this node has no need for another model of the task {task!r}")
    if not need.sketch or need.sketch_samples < SAMPLES_MIN:
        raise MusterError(
            "refused",
            f"nobody can tell whether others need the same: the sketch of this node's inputs is of "
            f"{need.sketch_samples} samples, {SAMPLES_MIN} are needed",
        )
    budget = core.ask_budget
    if not by_hand and (reason := budget.why_not()) is not None:
        raise MusterError("refused", reason)
    arguments = {
        "task": task, "from": start, "rounds": ROUNDS, "steps": STEPS, "batch": BATCH, "average": AVERAGE,
        "min_nodes": 1,
    }  # fmt: skip
    if not by_hand:
        arguments["bytes_node"] = budget.bytes_left()

    def ready() -> None:
        if why := unless():
            raise MusterError("refused", why)
        if not by_hand:
            budget.asked()

    like = Like(need.sketch, REPLAY)
    try:
        return await ask_for(core, catalogue, requested(arguments), secrets.token_bytes(8), like, ready)
    except StorageError as error:
        raise MusterError("disk_full", f"no job is asked for: {error}") from error
