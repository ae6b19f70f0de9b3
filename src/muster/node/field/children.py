"""Implements `Workshop` with the trainer's child, which has torch, and with processes of onnxruntime."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from muster import __version__
from muster.errors import EXIT_CODES, MusterError
from muster.learning.export import metadata_of
from muster.local.local_set import path_of
from muster.node.api import frozen_parts
from muster.node.api.inspection import bring, find_commit
from muster.node.catalogue import Catalogue
from muster.node.core import Core
from muster.node.field.gates import Compared
from muster.node.field.memory import Made
from muster.node.field.workshop import Candidate, Sketch
from muster.protocol.envelope import UNREADABLE
from muster.protocol.ids import BlobId, CommitId, short
from muster.protocol.parts import Recipe
from muster.protocol.validation.limits import ID_BYTES
from muster.serving.paths import folder_of
from muster.serving.pointer import Served

if TYPE_CHECKING:
    from muster.job.context import Model
    from muster.job.runner import JobRunner
    from muster.node.trainer.adapter import StoreTrainer

T = TypeVar("T")
CHILD_S = 600.0  # that a process may take to compare two models, or to make a sketch
SAID_MAX = 300
VERSION_CHARS_MAX = 40
TUNING_STEPS = 100  # of a result of a job, on this node's own samples: as many as the job's rounds have
FILE_HEX = 8  # digits of a file's hash in the name of its version


class Children:
    """See the module. `scratch`: a folder that is emptied at the daemon's start."""

    def __init__(self, core: Core, catalogue: Catalogue, home: Path, scratch: Path) -> None:
        self._core, self._catalogue, self._home, self._scratch = core, catalogue, home, scratch

    @contextlib.asynccontextmanager
    async def of_commit(self, task: str, commit: CommitId) -> AsyncIterator[Candidate]:
        runner = await self._held(commit)
        async with self._trainer(task) as trainer:
            model = await self._model_of(trainer, runner, commit)
            made = Made(trainer.task.fingerprint, commit, runner.view.id, _accuracy(runner, commit))
            async with self._exported(task, trainer, model, short(commit), made) as candidate:
                yield candidate

    @contextlib.asynccontextmanager
    async def of_file(self, task: str, path: Path) -> AsyncIterator[Candidate]:
        version, said = await self._core.context.offload(_named, path)
        async with self._trainer(task) as trainer, self._fresh(trainer, path) as model:
            made = Made(trainer.task.fingerprint)
            if said is not None and said.fingerprint == made.fingerprint:  # it was exported from a commit
                made, version = said, short(said.commit)
            async with self._exported(task, trainer, model, version, made) as candidate:
                yield candidate

    @contextlib.asynccontextmanager
    async def fine_tuned(self, task: str, commit: CommitId) -> AsyncIterator[Candidate]:
        runner = await self._held(commit)
        async with self._trainer(task) as trainer:
            model = await self._model_of(trainer, runner, commit)
            job = runner.view.job
            trainer.work_for(runner.view.id, replay=job.replay if job.like else None)
            async with self._tuned(trainer, model, job.recipe) as tuned:
                made = Made(trainer.task.fingerprint, job=runner.view.id)
                version = f"{short(commit)}-own"
                async with self._exported(task, trainer, tuned, version, made) as candidate:
                    yield candidate

    async def compare(self, task: str, candidate: Candidate, used: Served) -> Compared:
        answer = await self._process(
            "muster.serving.compare",
            *("--home", str(self._home), "--task", task, "--candidate", str(candidate.file)),
        )
        return _typed(answer, Compared)

    async def sketch(self, task: str, used: Served) -> Sketch:
        model = used.current.sketch_path(folder_of(self._home, task))
        local = path_of(self._home, task)
        answer = await self._process("muster.serving.sketching", "--local", str(local), "--model", str(model))
        found = _typed(answer, _SketchAnswer)
        return Sketch(bytes.fromhex(found.sketch), found.samples)

    async def _held(self, commit: CommitId) -> JobRunner:
        """The job of a commit whose parameters are held here from now on. Raises MusterError."""
        runner, point = await find_commit(self._core, commit.hex())
        if runner.models.model_of(commit) is None or not await runner.models.sound(commit):
            await bring(self._core, runner, point, runner.view.job.patience_s)
        return runner

    async def _model_of(self, trainer: StoreTrainer, runner: JobRunner, commit: CommitId) -> Model:
        await frozen_parts.take(self._core, trainer, runner)
        model = runner.models.model_of(commit)
        if model is None:
            raise MusterError("no_result", f"this node does not hold the parameters of {short(commit)}")
        return model

    @contextlib.asynccontextmanager
    async def _trainer(self, task: str) -> AsyncIterator[StoreTrainer]:
        """A trainer of its own, so that it waits for no job and no job for it."""
        trainer = await self._catalogue.open(task)
        try:
            yield trainer
        finally:
            await trainer.close()

    @contextlib.asynccontextmanager
    async def _fresh(self, trainer: StoreTrainer, path: Path) -> AsyncIterator[Model]:
        """The parameters in a file, as a model that is gone after the block."""
        from muster.job.context import Model

        blob = await trainer.initial(0, path)
        try:
            yield Model(blob)
        finally:
            self._drop(blob)

    @contextlib.asynccontextmanager
    async def _tuned(self, trainer: StoreTrainer, model: Model, recipe: Recipe) -> AsyncIterator[Model]:
        """A model after some steps on this node's own samples, as one that is gone after the block."""
        blob = await trainer.fine_tuned(model, recipe, TUNING_STEPS)
        try:
            yield replace(model, blob=blob)
        finally:
            self._drop(blob)

    def _drop(self, blob: BlobId) -> None:
        """A blob that was made here, unless a job has the same one."""
        if not any(blob in runner.needs() for runner in self._core.jobs.runners.values()):
            self._core.store.delete_blob(blob)

    @contextlib.asynccontextmanager
    async def _exported(
        self, task: str, trainer: StoreTrainer, model: Model, version: str, made: Made
    ) -> AsyncIterator[Candidate]:
        """The files of a model, in the scratch folder."""
        name = f"serve-{secrets.token_hex(8)}"
        file, sketch, parameters = (
            self._scratch / f"{name}{suffix}" for suffix in (".onnx", ".sketch.onnx", ".safetensors")
        )
        accuracy = {} if made.accuracy is None else {"accuracy": f"{made.accuracy:.6g}"}
        metadata = {"muster": __version__, "task": task, "version": version, "commit": made.commit.hex()}
        try:
            await trainer.export_serving(model, file, sketch, metadata | accuracy)
            await trainer.export(model, parameters, "safetensors", metadata)
            sha256 = await self._core.context.offload(_sha256, file)
            kept = sketch if sketch.exists() else None
            yield Candidate(version, made, file, kept, parameters, sha256)
        finally:
            for path in (file, sketch, parameters):
                with contextlib.suppress(OSError):
                    path.unlink()

    async def _process(self, module: str, *arguments: str) -> bytes:
        """What a Python process prints. Raises MusterError as it says, else ChildProcessError."""
        process = await asyncio.create_subprocess_exec(
            "nice", sys.executable, "-m", module, *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(CHILD_S):
                out, err = await process.communicate()
        except TimeoutError as error:
            raise ChildProcessError(f"{module} took over {CHILD_S:g} s and was ended") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        with contextlib.suppress(*UNREADABLE):
            failed = msgspec.json.decode(out, type=_Failed).error
            if failed.code in EXIT_CODES:
                raise MusterError(failed.code, failed.sentence)
        if process.returncode:
            said = " ".join(err.decode(errors="replace").split())[-SAID_MAX:]
            raise ChildProcessError(f"{module} ended with {process.returncode}: {said}")
        return out


class _Error(msgspec.Struct):
    code: str
    sentence: str


class _Failed(msgspec.Struct):
    error: _Error


class _SketchAnswer(msgspec.Struct):
    sketch: str
    samples: int


def _typed(answer: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except UNREADABLE as error:
        raise ChildProcessError(f"a child answered what cannot be read: {error}") from error


def _accuracy(runner: JobRunner, commit: CommitId) -> float | None:
    """The accuracy of a commit where it was measured, on what all nodes have or on what they hold out."""
    figures = runner.view.figures(commit)
    return figures.values(runner.view.job.metrics).get("accuracy") if figures is not None else None


def _named(path: Path) -> tuple[str, Made | None]:
    """What a file is called as a version, and of which commit it says that it is. Raises MusterError."""
    said = metadata_of(path)
    version = f"{_plain(path.stem)[:VERSION_CHARS_MAX]}-{_sha256(path)[:FILE_HEX]}"
    try:
        fingerprint, commit, job = (bytes.fromhex(said[key]) for key in ("fingerprint", "commit", "job"))
        accuracy = float(said["accuracy"]) if "accuracy" in said else None
    except (KeyError, ValueError):
        return version, None
    whole = len(commit) == len(job) == len(fingerprint) == ID_BYTES
    return version, Made(fingerprint, commit, job, accuracy) if whole else None


def _plain(name: str) -> str:
    """A file's name as the beginning of a version."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name).lstrip("-_") or "model"


def _sha256(path: Path) -> str:
    """Raises MusterError for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MusterError("bad_data", f"{path} cannot be read: {error.strerror}") from error
