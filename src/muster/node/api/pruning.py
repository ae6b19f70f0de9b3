"""A finished model without its smallest channels: measured before and after, then tuned by a job."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from muster.errors import MusterError
from muster.job.context import Model
from muster.job.figures import Figures
from muster.node.api.job_description import requested
from muster.node.api.job_requests import ask, at_width, commit_of, from_commit
from muster.node.api.prune_view import PruneView, SizeView
from muster.node.catalogue import Catalogue
from muster.node.core import Core
from muster.protocol.ids import short

if TYPE_CHECKING:
    from muster.node.trainer.adapter import StoreTrainer


async def prune(core: Core, catalogue: Catalogue, arguments: dict[str, Any], nonce: bytes) -> PruneView:
    """Publish a job that begins from a commit at a smaller width, and say what the pruning alone costs.

    Raises MusterError.
    """
    request = requested(arguments)
    if request.start is None or request.width is None:
        raise MusterError("usage", "say which commit is to be pruned, and to which --width")
    runner, point = await commit_of(core, request)
    if request.width >= runner.view.job.width:
        raise MusterError(
            "usage",
            f"{short(point.id)} has a model of width {runner.view.job.width:g}: give a smaller --width",
        )
    core.log.add("job", f"prunes {short(point.id)} to width {request.width:g}")
    async with catalogue.borrowed(request.task) as trainer:
        wide = await from_commit(core, request, trainer, runner, point)
        measure = partial(_measured, core, trainer, "common" if trainer.task.common else "own")
        before = await measure(wide)
        small = await at_width(trainer, wide, request.width)
        pruned = await measure(small)
        if pruned.parameters >= before.parameters:  # it was pruned in its own job
            raise MusterError(
                "usage", f"{short(point.id)} has a model as small as that already: give a smaller --width"
            )
    job = await ask(core, catalogue, arguments, nonce)
    return PruneView(job.hex(), point.id.hex(), bool(trainer.task.common), before, pruned)


async def _measured(core: Core, trainer: StoreTrainer, which: str, model: Model) -> SizeView:
    found = await trainer.evaluate(model, which)
    values = Figures(found.examples, found.figures).values(trainer.task.metrics) if found.examples else {}
    layout = await trainer.layout_of(model.shape)
    return SizeView(trainer.width, layout.parameters, core.store.blob_size(model.blob) or 0,
                    found.examples, values)  # fmt: skip
