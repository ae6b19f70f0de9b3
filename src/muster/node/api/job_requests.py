"""Asking for help and taking the result home: a new job, the end of one, the export of its model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from muster import __version__
from muster.errors import MusterError
from muster.history.point import Point
from muster.job.context import Model
from muster.job.coordinator.lingering import keep_linger
from muster.job.coordinator.seeded import keep_from_seed
from muster.job.runner import JobRunner
from muster.job.standing import may_stop_sentence
from muster.node.api import frozen_parts
from muster.node.api.found_rate import found_rate
from muster.node.api.inspection import bring, find_commit, is_prefix
from muster.node.api.job_description import Request, prune_of, recipe_of, requested, settled, sharing_of
from muster.node.api.members import named
from muster.node.catalogue import Catalogue
from muster.node.core import Core
from muster.node.revocations import REVOKED_HERE
from muster.node.twins import CLONED_HERE
from muster.protocol.ids import BlobId, JobId, short
from muster.protocol.parts import Prune, StopRule
from muster.protocol.records import Commit, Job, Stop
from muster.protocol.validation.limits import (
    clean,
)

if TYPE_CHECKING:
    from muster.node.trainer.adapter import StoreTrainer


@dataclass(frozen=True)
class Like:
    """What a job for nodes with a like need has besides (`Job.like`, `Job.replay`)."""

    sketch: bytes = b""
    replay: int = 0


async def ask(core: Core, catalogue: Catalogue, arguments: dict[str, Any], nonce: bytes) -> JobId:
    """Publish a job and the root of its history: fresh, from a file's or a commit's parameters.

    Raises MusterError.
    """
    return await ask_for(core, catalogue, requested(arguments), nonce)


async def ask_for(
    core: Core,
    catalogue: Catalogue,
    request: Request,
    nonce: bytes,
    like: Like = Like(),
    on_ready: Callable[[], None] = lambda: None,
) -> JobId:
    """`ask` with a checked request. A job for nodes with a like need takes the learning rate of the job that
    its model comes from, else the task's: what was learnt is there, and labels are few. `on_ready()` is
    called before it is published.

    Raises MusterError.
    """
    begin = await commit_of(core, request) if request.start and _names_commit(request.start) else None
    if begin is not None and request.fresh:
        raise MusterError("usage", "--fresh is for files: export the commit first, and start from the file")
    tell = partial(core.log.add, "job")
    tell(f"starts the trainer of {request.task}")
    async with catalogue.borrowed(request.task) as trainer:
        width = _width(request, begin)
        if begin is not None:
            model = await from_commit(core, request, trainer, *begin)
            model = await at_width(trainer, model, width)
        else:
            await trainer.take_width(width)
            start = Path(request.start) if request.start else None
            model = Model(await trainer.initial(recipe_of(request).seed, start, request.fresh, tell))
        frozen = await frozen_parts.offer(core, trainer)
        facts = trainer.task  # with the frozen part that it trains with
        request, recipe, stop = settled(request, facts.defaults, facts.metrics)
        prune = await _prune(request, stop, trainer)
        if like.sketch and request.lr is None and begin is not None:
            recipe = msgspec.structs.replace(recipe, lr=begin[0].view.job.recipe.lr)
        elif not like.sketch and request.lr is None:
            recipe = await found_rate(trainer, model, recipe, stop, tell)
    job = Job(
        request.task, facts.fingerprint, recipe, stop, request.min_nodes, request.patience_s, nonce,
        facts.metrics, *frozen, width=width, prune=prune, **sharing_of(request),
        like=like.sketch, replay=like.replay, stoppers=named(core, request.stoppers),
    )  # fmt: skip
    _may_act(core)
    on_ready()
    job_id = open_job(
        core, job, model.blob, request.linger_s, seeded=request.start is None, shape=model.shape
    )
    try:
        trainer.begin_own(job_id)
    except OSError as error:
        core.log.add("error", f"this node's own tensors begin as the task makes them: {error}", job=job_id)
    return job_id


def _may_act(core: Core) -> None:
    """Raises MusterError for a node that is no member any more."""
    if core.trust.revoked(core.node):
        raise MusterError("fleet", REVOKED_HERE.format(core.trust.why_revoked(core.node)))
    if core.presence.cloned:
        raise MusterError("fleet", CLONED_HERE)


def _names_commit(start: str) -> bool:
    return is_prefix(start) and not Path(start).exists()


async def commit_of(core: Core, request: Request) -> tuple[JobRunner, Point]:
    """The commit that a job shall begin from, and its job. Raises MusterError."""
    assert request.start is not None
    runner, point = await find_commit(core, request.start)
    if runner.view.job.task != request.task:
        task = runner.view.job.task
        raise MusterError(
            "usage", f"the commit {request.start} is of the task {task!r}: muster train {task} --from ..."
        )
    return runner, point


def _width(request: Request, begin: tuple[JobRunner, Point] | None) -> float:
    """That of the job: as asked for, else that of the commit that it begins from. Raises MusterError."""
    had = 1.0 if begin is None else begin[0].view.job.width
    wanted = had if request.width is None else request.width
    if wanted > had:
        raise MusterError(
            "usage",
            f"the commit {request.start} has a model of width {had:g}, which can become smaller, not wider: "
            "begin from another one, or without --width",
        )
    return wanted


async def at_width(trainer: StoreTrainer, model: Model, width: float) -> Model:
    """The model of a commit, as the trainer has them, without its smallest channels."""
    had = trainer.width
    await trainer.take_width(width)
    return model if width == had else Model(await trainer.narrowed(model.blob, had, model.shape))


async def _prune(request: Request, stop: StopRule, trainer: StoreTrainer) -> Prune | None:
    """How the job's model becomes smaller. Raises MusterError for one that cannot."""
    found = prune_of(request, stop)
    if found is not None and not (await trainer.structure()).groups:
        raise MusterError(
            "usage",
            f"the task {request.task!r} has no layer whose width muster can change: train it without --prune",
        )
    return found


async def from_commit(
    core: Core, request: Request, trainer: StoreTrainer, runner: JobRunner, point: Point
) -> Model:
    """The parameters of a commit of the same version of the task, held here from now on."""
    try:
        await frozen_parts.take(core, trainer, runner)
    except MusterError as error:
        if error.code != "fingerprint":
            raise
        raise MusterError(
            "fingerprint",
            f"the commit {request.start} was made with another version of the task {request.task!r}: "
            f"install that one, or start from another commit ({error.sentence})",
        ) from error
    runner.models.learn_layout(trainer.task.layout)  # this node may never have trained it
    if runner.models.forms.lacks_structure(runner.view):
        runner.models.forms.learn_structure(await trainer.structure())
    if not await runner.models.sound(point.id):
        await bring(core, runner, point, request.patience_s)
    model = runner.models.model_of(point.id)
    assert model is not None
    return model


def open_job(
    core: Core,
    job: Job,
    start: BlobId,
    linger_s: float | None = None,
    *,
    seeded: bool = False,
    shape: bytes = b"",
) -> JobId:
    """Publish a job and the root of its history, together: a job without a root could never begin.

    `seeded`: it starts from the model of its seed, which others can make; `shape`: what the model keeps."""
    size = core.store.blob_size(start)
    assert size is not None
    with core.store.transaction():
        job_id, announce_job = core.ledger.keep_unannounced(job)
        root = Commit(
            job_id, (), 0, (), (core.node,), (), 0.0, start, size, shape=shape
        )  # fmt: skip
        _, announce_root = core.ledger.keep_unannounced(root)
        if linger_s is not None:
            keep_linger(core.store, job_id, linger_s)
        if seeded:
            keep_from_seed(core.store, job_id)
    announce_job()
    announce_root()
    return job_id


async def find(core: Core, prefix: str) -> JobRunner:
    """The one job whose id begins with `prefix`; without a prefix the newest."""
    found = core.jobs.find(prefix)
    if not found:
        raise MusterError("unknown_job", f"no job here begins with {prefix!r}: `muster jobs` lists them")
    if len(found) > 1 and prefix:
        names = ", ".join(short(job) for job in found)
        raise MusterError("unknown_job", f"{prefix!r} fits several jobs ({names}): give more digits")
    return await core.jobs.load(found[-1])


async def stop(core: Core, prefix: str, reason: str) -> JobId:
    runner = await find(core, prefix)
    view, name = runner.view, core.trust.name
    if not view.standing.may_stop(core.node, view.asker, view.job):
        raise MusterError("refused", may_stop_sentence(name(core.node), name(view.asker)))
    if view.stopped is None:
        core.ledger.publish(Stop(runner.view.id, clean(reason) or "by its user"))
    return runner.view.id


async def export(
    core: Core, catalogue: Catalogue, prefix: str, to: Path, commit: str = "", *, best: bool = False
) -> dict[str, Any]:
    """Write the head's model, that of `commit` (of any job), or the best one here, as safetensors, ONNX or
    (without a suffix) both; an ONNX file beside the safetensors is worth a warning at most.

    Raises MusterError.
    """
    head: Point | None
    if commit:
        runner, head = await find_commit(core, commit)
        await bring(core, runner, head, runner.view.job.patience_s)
    else:
        runner = await find(core, prefix)
        head = runner.view.best(runner.models.held) if best else runner.head()
        if best and head is None and runner.head() is not None:
            raise MusterError(
                "no_result", "no model of that job that is held here was measured: export the last one"
            )
    model = runner.models.model_of(head.id) if head else None
    if head is not None and model is not None and not await runner.models.sound(head.id):
        await bring(core, runner, head, runner.view.job.patience_s)
    if head is None or model is None:
        raise MusterError("no_result", "this node holds no model of that job yet: wait for its first commit")
    kinds = {".safetensors": "safetensors", ".onnx": "onnx"}
    if to.suffix in kinds:
        wanted = {kinds[to.suffix]: to}
    else:
        wanted = {kind: to.with_name(to.name + suffix) for suffix, kind in kinds.items()}
    if not to.parent.is_dir():
        raise MusterError("usage", f"there is no folder {to.parent}: make it first")
    figures = runner.view.figures(head.id)
    values = figures.values(runner.view.job.metrics) if figures else {}
    metadata = {name: f"{value:.6g}" for name, value in values.items()} | {
        "muster": __version__,
        "task": runner.view.job.task,
        "fingerprint": runner.view.job.fingerprint.hex(),
        "job": runner.view.id.hex(),
        "commit": head.id.hex(),
        "round": str(head.round),
        "width": f"{runner.view.job.width:g}",
    }
    paths: list[str] = []
    warnings: list[str] = []
    try:
        trainer = await catalogue.open(runner.view.job.task)
        try:
            await frozen_parts.take(core, trainer, runner)
            for kind, path in wanted.items():
                try:
                    await trainer.export(model, path, kind, metadata)
                    paths.append(str(path))
                except (MusterError, ChildProcessError) as error:
                    if not paths:  # the parameters themselves
                        raise
                    warnings.append(f"{path.name} is not written: {getattr(error, 'sentence', error)}")
        finally:
            await trainer.close()
    except ChildProcessError as error:
        raise MusterError("failed", f"the export failed: {error}") from error
    return {
        "paths": paths,
        "warnings": warnings,
        "accuracy": values.get("accuracy"),
        "figures": values,
        "metric": runner.view.headline.name,
        "round": head.round,
        "commit": head.id.hex(),
    }
