"""`muster adapt`: asks for a job at once, whatever labels and budgets say."""

from __future__ import annotations

from muster.errors import MusterError
from muster.node.api.field_view import AskedView
from muster.node.field.task_loop import TaskLoop


async def adapt(loop: TaskLoop) -> AskedView:
    """Say that the model in use fails here, if that was not said, and ask. Raises MusterError."""
    try:
        return await _adapt(loop)
    except ChildProcessError as error:
        raise MusterError("task_fault", f"the task cannot be trained here: {error}") from error


async def _adapt(loop: TaskLoop) -> AskedView:
    field, among = loop.field, loop.among
    found = await field.look()
    if found.served is None or found.made is None:
        raise MusterError(
            "no_result",
            f"no model of {field.task!r} that could be adapted is in use: muster use puts one there",
        )
    need = among.own_need()
    if need is None or need.over:
        await loop.tell_need(found)
        need = among.own_need()
    assert need is not None
    running = [job for job in await among.jobs(need) if not job.over]
    if running:
        name = running[-1].job.hex()[:8]
        raise MusterError(
            "refused", f"the job {name} of {running[-1].asker} goes on already: wait for its end"
        )
    job = await loop.ask(found, by_hand=True)
    field.say("a person asks for a job", job=job)
    return AskedView(field.task, job.hex(), [other.name for other in among.like(need)])
