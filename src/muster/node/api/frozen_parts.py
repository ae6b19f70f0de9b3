"""What a task does not train, as a blob: who asks for a job offers it, who has another one takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muster.errors import MusterError
from muster.job.runner import JobRunner
from muster.node.api.inspection import within_patience
from muster.node.core import Core
from muster.protocol.ids import BlobId
from muster.protocol.records import Job

if TYPE_CHECKING:
    from muster.node.trainer.adapter import StoreTrainer


async def offer(core: Core, trainer: StoreTrainer) -> tuple[BlobId | None, int]:
    """Keep what the trainer's task does not train for nodes that lack it; its id and size for the job.

    (None, 0) where nothing is frozen, or where there is no room: then nodes that lack it take no part.
    """
    blob, size_bytes = await trainer.frozen()
    if not size_bytes:
        return None, 0
    if not core.store.has_blob(blob):
        limit_bytes = core.context.policy.disk_limit_bytes
        why = f"it has {size_bytes / 1e6:.0f} MB, over policy.disk_limit_mb"
        try:
            if size_bytes <= limit_bytes:
                await trainer.keep_frozen()
                return blob, size_bytes
        except MusterError as error:
            if error.code != "disk_full":
                raise
            why = error.sentence
        core.log.add("job", f"nodes that lack the frozen part of the task cannot have it from here: {why}")
        return None, 0
    return blob, size_bytes


async def take(core: Core, trainer: StoreTrainer, runner: JobRunner) -> None:
    """Have a trainer's task as a job has it: at the job's width, and with its frozen part where this node has
    another.

    Raises MusterError where more than that differs, or where nobody in reach has it.
    """
    job = runner.view.job
    if trainer.task.fingerprint != job.fingerprint:
        await _take_frozen(core, trainer, job)
    await trainer.take_width(job.width)


async def _take_frozen(core: Core, trainer: StoreTrainer, job: Job) -> None:
    differs = await trainer.differs(job.fingerprint)
    if not differs.in_frozen or job.frozen is None:
        raise MusterError("fingerprint", differs.sentence)
    await within_patience(
        core,
        core.transfers.fetch(job.frozen, job.frozen_bytes),
        job.patience_s,
        "the frozen part of the task, which is not the same here as in the job, is with nobody in reach: try "
        "again when a node is near that has it",
    )
    await trainer.take_frozen(job.frozen, job.fingerprint)
