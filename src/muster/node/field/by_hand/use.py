"""`muster use`: a person puts a model into use, through the same gate where there are labels."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from muster.errors import MusterError
from muster.learning.export import metadata_of
from muster.node.api.field_view import MovedView
from muster.node.api.inspection import find_commit, is_prefix
from muster.node.core import Core
from muster.node.field.gates import Compared, judged
from muster.node.field.looking import Found
from muster.node.field.task_field import TaskField
from muster.node.field.workshop import Candidate
from muster.protocol.ids import CommitId, short
from muster.serving.pointer import Served

CHARS_MAX = 4096


@dataclass(frozen=True)
class Named:
    """A model as a person named it: a commit, or a file."""

    task: str
    commit: CommitId = b""
    file: Path | None = None


async def named(core: Core, model: str, task: str) -> Named:
    """What is meant, and of which task. Raises MusterError."""
    path = Path(model)
    if path.is_absolute() and len(model) <= CHARS_MAX:
        said = await core.context.offload(_task_of, path)
        if not (task or said):
            raise MusterError("usage", f"{path.name} does not say of which task it is: add --task TASK")
        return Named(task or said, file=path)
    if not is_prefix(model):
        raise MusterError(
            "usage",
            f"{model[:40]!r} is neither a file nor a commit: give FILE.safetensors, or the beginning of a "
            "commit's id (muster log)",
        )
    runner, point = await find_commit(core, model)
    of = runner.view.job.task
    if task and task != of:
        raise MusterError("usage", f"the commit {short(point.id)} is of the task {of!r}, not of {task!r}")
    return Named(of, commit=point.id)


def _task_of(path: Path) -> str:
    """The task that a file names, or "". Raises MusterError for what is no such file."""
    try:
        return metadata_of(path).get("task", "")
    except Exception as error:  # safetensors has errors of its own
        said = " ".join(str(error).split())[:200]
        raise MusterError("bad_data", f"{path} is no safetensors file that can be read: {said}") from error


async def use(field: TaskField, model: Named, *, force: bool) -> MovedView:
    """Put it into use. Raises MusterError: "refused" where it is no better."""
    try:
        async with _made(field, model) as candidate:
            return await _use(field, candidate, force=force)
    except ChildProcessError as error:
        raise MusterError("task_fault", f"the model cannot be made or compared here: {error}") from error


def _made(field: TaskField, model: Named) -> contextlib.AbstractAsyncContextManager[Candidate]:
    if model.file is not None:
        return field.workshop.of_file(field.task, model.file)
    return field.workshop.of_commit(field.task, model.commit)


async def _use(field: TaskField, candidate: Candidate, *, force: bool) -> MovedView:
    found = await _found(field)
    served = found.served
    if served is not None and served.sha256 == candidate.sha256:
        return _view(field, served, "it was so before")
    compared: Compared | None = None
    if served is None:
        kind, said = "first", "the first model of this task here"
    elif force:
        kind, said = "forced", "a person said so"
    elif not found.labels.held:
        kind, said = "adopted", "a person said so, and no held-out label is here to check it on"
    else:
        compared = await field.workshop.compare(field.task, candidate, served)
        accepted, said = judged(compared, field.settings.gate)
        if not accepted:
            raise MusterError("refused", f"{said}: not used; --force uses it all the same")
        kind = "adopted"
    moved = await field.put(candidate, kind, said, compared, served)
    return _view(field, moved, said)


async def _found(field: TaskField) -> Found:
    """What the files say; of a damaged pointer nothing, so that a new model mends it."""
    try:
        return await field.look()
    except MusterError as error:
        if error.code != "bad_data":
            raise
        return Found()


def _view(field: TaskField, served: Served, said: str) -> MovedView:
    former = served.former.version if served.former is not None else None
    return MovedView(field.task, served.version, former, said)
