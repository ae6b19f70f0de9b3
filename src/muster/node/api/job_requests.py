"""Asking for help and taking the result home: a new job, the end of one, the export of its model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from muster import __version__
from muster.compression.codec import CodecError
from muster.compression.codecs.families import parse
from muster.errors import MusterError
from muster.history.graph import Point
from muster.job.coordinator.lingering import keep_linger
from muster.job.coordinator.round_times import keep_from_seed
from muster.job.runner import JobRunner
from muster.job.stop_rule import ROUNDS_MAX
from muster.learning.recipes import defaults
from muster.node.api.inspection import bring, find_commit, is_prefix
from muster.node.catalogue import Catalogue
from muster.node.core import Core
from muster.protocol.records import BlobId, Commit, Job, JobId, Recipe, Stop, StopRule, short
from muster.protocol.validation.limits import (
    AGE_MAX_S,
    AVERAGE_MAX,
    BATCH_MAX,
    ID_BYTES,
    LR_MAX,
    MOMENTUM_MAX,
    NODES_MAX,
    PATIENCE_MAX_S,
    SEED_MAX,
    SEED_MIN,
    STEPS_MAX,
    TOTAL_MAX,
    clean,
)
from muster.protocol.validation.validate import validate

if TYPE_CHECKING:
    from muster.node.trainer.messages import TaskFacts

DEFAULT_PATIENCE_S = 20.0
LINGER_MAX_S = 7 * 86_400.0
PATH_CHARS_MAX = 4096
RECIPE_FIELDS = (
    "lr", "batch", "steps", "seed", "momentum", "codec", "down_codec", "lr_end", "server_momentum",
    "average",
)  # fmt: skip


class Request(msgspec.Struct, forbid_unknown_fields=True, rename={"start": "from"}):
    """What `train` may say; None takes the task's default."""

    task: str
    rounds: int | None = None
    target: float | None = None
    seconds: float | None = None
    bytes: int | None = None
    lr: float | None = None
    batch: int | None = None
    steps: int | None = None
    seed: int | None = None
    momentum: float | None = None
    codec: str | None = None
    down_codec: str | None = None
    lr_end: float | None = None
    server_momentum: float | None = None
    average: int | None = None
    min_nodes: int = 1
    patience_s: float = DEFAULT_PATIENCE_S
    linger_s: float | None = None
    start: str | None = None


async def ask(core: Core, catalogue: Catalogue, arguments: dict[str, Any], nonce: bytes) -> JobId:
    """Publish a job and the root of its history: fresh, from a file's or a commit's parameters.

    Raises MusterError.
    """
    try:
        request = msgspec.convert(arguments, Request)
    except msgspec.ValidationError as error:
        raise MusterError("usage", f"the job is not well described: {error}") from error
    recipe, stop = _recipe(request), _stop(request)
    _check(request, recipe, stop)
    begin = _commit(core, request) if request.start and _names_commit(request.start) else None
    core.log.add("job", f"starts the trainer of {request.task}")
    try:
        trainer = await catalogue.open(request.task)
        try:
            if begin is not None:
                blob = await _from_commit(core, request, trainer.task, *begin)
            else:
                blob = await trainer.initial(recipe.seed, Path(request.start) if request.start else None)
        except BaseException:
            await trainer.close()
            raise
    except ChildProcessError as error:
        raise MusterError(
            "task_fault", f"the task {request.task!r} cannot be trained here: {error}"
        ) from error
    facts = trainer.task
    await catalogue.keep(request.task, trainer)
    job = Job(request.task, facts.fingerprint, recipe, stop, request.min_nodes, request.patience_s, nonce)
    return open_job(core, job, blob, request.linger_s, seeded=request.start is None)


def _names_commit(start: str) -> bool:
    return is_prefix(start) and not Path(start).exists()


def _commit(core: Core, request: Request) -> tuple[JobRunner, Point]:
    assert request.start is not None
    runner, point = find_commit(core, request.start)
    if runner.view.job.task != request.task:
        task = runner.view.job.task
        raise MusterError(
            "usage", f"the commit {request.start} is of the task {task!r}: muster train {task} --from ..."
        )
    return runner, point


async def _from_commit(
    core: Core, request: Request, facts: TaskFacts, runner: JobRunner, point: Point
) -> BlobId:
    """The parameters of a commit of the same version of the task, held here from now on."""
    if runner.view.job.fingerprint != facts.fingerprint:
        raise MusterError(
            "fingerprint",
            f"the commit {request.start} was made with another version of the task {request.task!r}: "
            "install that one, or start from another commit",
        )
    runner.models.learn_layout(facts.layout)  # this node may never have trained it
    if not await runner.models.sound(point.id):
        await bring(core, runner, point, request.patience_s)
    blob = runner.models.blob_of(point.id)
    assert blob is not None
    return blob


def open_job(
    core: Core, job: Job, start: BlobId, linger_s: float | None = None, *, seeded: bool = False
) -> JobId:
    """Publish a job and the root of its history, together: a job without a root could never begin.

    `seeded`: it starts from the model of its seed, which others can make."""
    size = core.store.blob_size(start)
    assert size is not None
    with core.store.transaction():
        job_id, announce_job = core.ledger.keep_unannounced(job)
        root = Commit(job_id, (), 0, (), (), (core.node,), (), 0.0, start, size)
        _, announce_root = core.ledger.keep_unannounced(root)
        if linger_s is not None:
            keep_linger(core.store, job_id, linger_s)
        if seeded:
            keep_from_seed(core.store, job_id)
    announce_job()
    announce_root()
    return job_id


def _recipe(request: Request) -> Recipe:
    known = defaults(request.task).recipe
    given = {name: value for name in RECIPE_FIELDS if (value := getattr(request, name)) is not None}
    if request.codec is not None:
        given.setdefault("down_codec", request.codec)
    return msgspec.structs.replace(known, **given)


def _stop(request: Request) -> StopRule:
    given = StopRule(request.rounds, request.target, request.seconds, request.bytes)
    return defaults(request.task).stop if given == StopRule() else given


def _check(request: Request, recipe: Recipe, stop: StopRule) -> None:
    limits: list[tuple[bool, str]] = [
        (0 < recipe.lr <= LR_MAX, f"the learning rate (--lr) must be above 0 and at most {LR_MAX:g}"),
        (1 <= recipe.batch <= BATCH_MAX, f"the batch (--batch) must be 1 to {BATCH_MAX}"),
        (1 <= recipe.steps <= STEPS_MAX, f"the steps (--steps) must be 1 to {STEPS_MAX}"),
        (SEED_MIN <= recipe.seed <= SEED_MAX, f"--seed must be {SEED_MIN} to {SEED_MAX}"),
        (0 <= recipe.lr_end <= 1, "the last rate (--lr-end) must be a fraction of the first, 0 to 1"),
        (
            0 <= recipe.server_momentum <= MOMENTUM_MAX,
            f"the round momentum (--server-momentum) must be 0 to {MOMENTUM_MAX}",
        ),
        (
            1 <= recipe.average <= AVERAGE_MAX,
            f"--average must be 1 to {AVERAGE_MAX} models",
        ),
        (0 <= recipe.momentum <= MOMENTUM_MAX, f"the momentum (--momentum) must be 0 to {MOMENTUM_MAX}"),
        (stop.rounds is None or 1 <= stop.rounds <= ROUNDS_MAX, f"--rounds must be 1 to {ROUNDS_MAX}"),
        (stop.target is None or 0 < stop.target <= 1, "--target must be above 0 and at most 1"),
        (
            stop.seconds is None or 0 < stop.seconds <= AGE_MAX_S,
            f"--seconds must be above 0 and at most {AGE_MAX_S:g}",
        ),
        (stop.bytes is None or 0 < stop.bytes <= TOTAL_MAX, f"--bytes must be 1 to {TOTAL_MAX}"),
        (1 <= request.min_nodes <= NODES_MAX, f"--min-nodes must be 1 to {NODES_MAX}"),
        (
            1 <= request.patience_s <= PATIENCE_MAX_S,
            f"--patience must be 1 to {PATIENCE_MAX_S:g} seconds",
        ),
        (
            request.linger_s is None or 0 <= request.linger_s <= LINGER_MAX_S,
            f"--linger must be 0 to {LINGER_MAX_S:.0f} s",
        ),
        (_is_path(request.start), "what the job begins from (--from) must be a file or a commit"),
    ]
    for holds, sentence in limits:
        if not holds:
            raise MusterError("usage", sentence)
    for codec in {recipe.codec, recipe.down_codec} - {"auto"}:
        try:
            parse(codec)
        except CodecError as error:
            raise MusterError("usage", str(error)) from error
    job = Job("t", bytes(ID_BYTES), recipe, stop, request.min_nodes, request.patience_s, b"")
    if (wrong := validate(job)) is not None:  # what every other node would say
        raise MusterError("usage", wrong)


def _is_path(start: str | None) -> bool:
    return start is None or (len(start) <= PATH_CHARS_MAX and "\0" not in start)


def find(core: Core, prefix: str) -> JobRunner:
    """The one job whose id begins with `prefix`; without a prefix the newest."""
    found = core.jobs.find(prefix)
    if not found:
        raise MusterError("unknown_job", f"no job here begins with {prefix!r}: `muster jobs` lists them")
    if len(found) > 1 and prefix:
        names = ", ".join(short(job) for job in found)
        raise MusterError("unknown_job", f"{prefix!r} fits several jobs ({names}): give more digits")
    return core.jobs.runner(found[-1])


def stop(core: Core, prefix: str, reason: str) -> JobId:
    runner = find(core, prefix)
    if runner.view.stopped is None:
        core.ledger.publish(Stop(runner.view.id, clean(reason) or "by its user"))
    return runner.view.id


async def export(core: Core, catalogue: Catalogue, prefix: str, to: Path, commit: str = "") -> dict[str, Any]:
    """Write the head's model, or that of `commit` (of any job), as safetensors, ONNX or (without a suffix)
    both; an ONNX file beside the safetensors is worth a warning at most. Raises MusterError."""
    head: Point | None
    if commit:
        runner, head = find_commit(core, commit)
        await bring(core, runner, head, runner.view.job.patience_s)
    else:
        runner = find(core, prefix)
        head = runner.head()
    blob = runner.models.blob_of(head.id) if head else None
    if head is not None and blob is not None and not await runner.models.sound(head.id):
        await bring(core, runner, head, runner.view.job.patience_s)
    if head is None or blob is None:
        raise MusterError("no_result", "this node holds no model of that job yet: wait for its first commit")
    kinds = {".safetensors": "safetensors", ".onnx": "onnx"}
    if to.suffix in kinds:
        wanted = {kinds[to.suffix]: to}
    else:
        wanted = {kind: to.with_name(to.name + suffix) for suffix, kind in kinds.items()}
    if not to.parent.is_dir():
        raise MusterError("usage", f"there is no folder {to.parent}: make it first")
    figures = runner.view.figures(head.id)
    metadata = {
        "muster": __version__,
        "task": runner.view.job.task,
        "fingerprint": runner.view.job.fingerprint.hex(),
        "job": runner.view.id.hex(),
        "commit": head.id.hex(),
        "round": str(head.round),
        "accuracy": f"{figures.accuracy:.6f}" if figures else "",
    }
    paths: list[str] = []
    warnings: list[str] = []
    try:
        trainer = await catalogue.open(runner.view.job.task)
        try:
            for kind, path in wanted.items():
                try:
                    await trainer.export(blob, path, kind, metadata)
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
        "accuracy": figures.accuracy if figures else None,
        "commit": head.id.hex(),
    }
