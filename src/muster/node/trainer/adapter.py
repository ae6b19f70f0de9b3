"""The trainer as jobs see it: blobs of the store in, arrays out; files and the child are hidden here."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.structure import Structure
from muster.compression.tensor_file import TensorFile
from muster.compression.tensors import Layout
from muster.errors import MusterError
from muster.job.context import (
    ContributionResult,
    Difference,
    EvaluationResult,
    MadeSamples,
    Model,
    TrainingRequest,
    TrainingResult,
    Weighted,
)
from muster.local.place import path_of
from muster.node.trainer.child_process import TrainerDied
from muster.node.trainer.facts import JobFacts, job_facts
from muster.node.trainer.messages import Progress, RateMessage, TaskFacts, TaskSource
from muster.node.trainer.process import TrainerProcess
from muster.protocol.ids import BlobId, JobId
from muster.protocol.parts import Recipe
from muster.protocol.records import Shared
from muster.storage.offload import Offload
from muster.storage.staged import write_zeros
from muster.storage.store import Store

T = TypeVar("T")
LOCAL = "local"  # the folder of a home, beside the scratch files, with what never leaves it: one file a job
ROOM_RETRY_S = 2.0  # between two tries to write to a full disk


class StoreTrainer:
    """Implements `job.context.TrainerLike` with the child process. One request at a time."""

    def __init__(
        self,
        trainer: TrainerProcess,
        facts: TaskFacts,
        store: Store,
        scratch: Path,
        offload: Offload,
        report: Callable[[str], None],
    ) -> None:
        self._trainer, self._facts, self._store, self._scratch = trainer, facts, store, scratch
        self._offload, self._report = offload, report
        self.width = 1.0  # of the models that it works with
        self._said_skipped = False
        self._structure: Structure | None = None  # of the model as it is now, once asked
        self._adapts = False  # it works for a job that adapts to a change
        self._own_start: Path | None = None  # what the last start from a file had of this node's own tensors

    @classmethod
    async def open(
        cls,
        source: TaskSource,
        store: Store,
        scratch: Path,
        offload: Offload,
        report: Callable[[str], None],
    ) -> StoreTrainer:
        """Start the child and load the task; `report` gets a sentence when the work must wait.

        Raises MusterError, ChildProcessError.
        """
        trainer = TrainerProcess(report)
        try:
            facts = await _job_errors(trainer.open(source))
        except BaseException:
            await trainer.close()
            raise
        return cls(trainer, facts, store, scratch, offload, report)

    @property
    def task(self) -> TaskFacts:
        return self._facts

    async def describe(self) -> JobFacts:
        """Of a job that adapts: `samples` are the labels of what changed. Raises MusterError without any."""
        if self._adapts:
            self._facts = replace(self._facts, samples=await _job_errors(self._trainer.count_labels()))
        return job_facts(self._facts, self._adapts)

    async def fresh(self, seed: int) -> BlobId | None:
        return await self.initial(seed, None)

    def work_for(self, job: JobId, share: float = 1.0, replay: int | None = None) -> None:
        self._trainer.share, self._adapts = share, replay is not None
        self._trainer.use_labels(path_of(self._scratch.parent, self._facts.name), job, replay)
        self._trainer.keep_local(self._local(job))

    def begin_own(self, job: JobId) -> None:
        """A job begins with what the file of `initial` had of this node's own tensors. Raises OSError."""
        own, self._own_start = self._own_start, None
        if own is not None and own.is_file():
            self._local(job).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            own.replace(self._local(job))

    def _local(self, job: JobId) -> Path:
        return self._scratch.parent / LOCAL / f"{job.hex()}.pt"

    async def differs(self, fingerprint: bytes) -> Difference:
        return await _job_errors(self._trainer.differs(fingerprint))

    async def take_frozen(self, frozen: BlobId, fingerprint: bytes) -> JobFacts:
        await _job_errors(self._trainer.take_frozen(self._store.blob_path(frozen), fingerprint))
        self._facts = replace(self._facts, fingerprint=fingerprint)
        return job_facts(self._facts, self._adapts)

    async def take_width(self, width: float) -> JobFacts:
        if width != self.width:
            layout = await _job_errors(self._trainer.take_width(width))
            self._facts, self.width = replace(self._facts, layout=layout), width
            self._structure = None
        return job_facts(self._facts, self._adapts)

    async def structure(self) -> Structure:
        if self._structure is None:
            self._structure = await _job_errors(self._trainer.structure())
        return self._structure

    async def layout_of(self, shape: bytes) -> Layout:
        """Of the models of a shape."""
        return (
            Form.of(self._facts.layout, await self.structure(), shape).layout if shape else self._facts.layout
        )

    async def narrowed(self, params: BlobId, width: float, shape: bytes = b"") -> BlobId:
        """A model of another `width` as one of this trainer's, as a blob of the store. Raises MusterError."""
        out = self._scratch_file("narrowed")
        try:
            await _job_errors(self._trainer.narrow(self._store.blob_path(params), width, out, shape))
            return self._store.put_staged(await self._offload(self._store.stage_file, out))
        finally:
            with contextlib.suppress(OSError):
                out.unlink()

    async def frozen(self) -> tuple[BlobId, int]:
        """The id and size of what the task does not train, as a blob that need not be in the store."""
        return await _job_errors(self._trainer.frozen())

    async def keep_frozen(self) -> None:
        """Keep what the task does not train as a blob of the store."""
        out = self._scratch_file("frozen")
        try:
            await _job_errors(self._trainer.frozen(out))
            self._store.put_staged(await self._offload(self._store.stage_file, out))
        finally:
            with contextlib.suppress(OSError):
                out.unlink()

    async def measure_speed(self, batch: int) -> float:
        return await _job_errors(self._trainer.measure_speed(batch))

    async def find_rate(self, model: Model, recipe: Recipe, seconds: float) -> RateMessage:
        """A learning rate for the recipe's batch, momentum and seed, found in `seconds` at most."""
        return await _job_errors(
            self._trainer.find_rate(
                self._store.blob_path(model.blob),
                batch=recipe.batch, momentum=recipe.momentum, seed=recipe.seed, seconds=seconds,
                shape=model.shape,
            )
        )  # fmt: skip

    async def train(
        self, model: Model, request: TrainingRequest, progress: Callable[[float], None]
    ) -> TrainingResult:
        out, layout = self._scratch_file("update"), await self.layout_of(model.shape)

        def on_progress(p: Progress) -> None:
            progress(p.done / max(1, p.of))

        while True:
            try:
                base = self._store.blob_path(model.blob)
                samples = [(self._store.blob_path(blob), weight) for blob, weight in request.samples]
                arguments = {**vars(request), "samples": samples, "shape": model.shape}
                done = await _job_errors(self._trainer.train(base, out, **arguments, progress=on_progress))
                kept = out.rename(self._scratch_file("trained"))
                update = TensorFile(layout.changes, kept)
                return TrainingResult(done.steps, done.examples, done.loss, done.step_s, update, done.skipped)
            except MusterError as error:
                if error.code != "disk_full":
                    raise
                self._report(f"waits for room: {error.sentence}")
            finally:
                with contextlib.suppress(OSError):
                    out.unlink()
            await self._room_for(out)  # a full disk is no fault of the task: the same work again

    async def _room_for(self, out: Path) -> None:
        """Wait until a file as large as an update can be written."""
        while True:
            await asyncio.sleep(ROOM_RETRY_S)
            try:
                await self._offload(write_zeros, out, self._facts.layout.changes.blob_bytes)
                return
            except OSError:
                continue
            finally:
                with contextlib.suppress(OSError):
                    out.unlink()

    async def fine_tuned(self, model: Model, recipe: Recipe, steps: int) -> BlobId:
        """A model trained further on the labels of the job that it works for, as a blob: for this node alone.

        Raises MusterError, ChildProcessError.
        """
        out = self._scratch_file("fine")
        try:
            await _job_errors(
                self._trainer.fine_tune(
                    self._store.blob_path(model.blob), out, steps=steps, lr=recipe.lr, batch=recipe.batch,
                    momentum=recipe.momentum, seed=recipe.seed, shape=model.shape,
                )
            )  # fmt: skip
            return self._store.put_staged(await self._offload(self._store.stage_file, out))
        finally:
            with contextlib.suppress(OSError):
                out.unlink()

    async def evaluate(self, model: Model, which: str, limit: int | None = None) -> EvaluationResult:
        path = self._store.blob_path(model.blob)
        m = await _job_errors(self._trainer.evaluate(path, which, limit=limit, shape=model.shape))
        if m.skipped and not self._said_skipped:
            self._said_skipped = True  # it is the same data each time
            self._report(f"leaves out {m.skipped} held-out samples that hold NaN")
        return EvaluationResult(m.examples, m.figures)

    async def value(
        self, model: Model, updates: Sequence[Weighted], which: str, limit: int
    ) -> ContributionResult:
        path, messages = self._store.blob_path, []
        for u in updates:
            blob, inline = u.payload.blob, u.payload.inline
            assert inline is not None or blob is not None
            messages.append((u.weight, path(blob) if blob is not None else inline or b"", u.shape))
        v = await _job_errors(self._trainer.value(path(model.blob), messages, which, limit, model.shape))
        return ContributionResult(v.values, v.before, v.after, v.examples)

    async def share(
        self, bytes_max: int, means_only: bool, classes: Sequence[int] | None, seed: int
    ) -> MadeSamples | str:
        out = self._scratch_file("samples")
        try:
            made = await _job_errors(self._trainer.make_samples(out, bytes_max, means_only, classes, seed))
            if isinstance(made, str):
                return made
            return MadeSamples(await self._offload(self._store.stage_file, out), **vars(made))
        finally:
            with contextlib.suppress(OSError):
                out.unlink()

    async def check_samples(self, blob: BlobId, record: Shared) -> str:
        path = self._store.blob_path(blob)
        return await _job_errors(self._trainer.check_samples(path, record.kind, record.samples))

    async def initial(
        self,
        seed: int,
        start: Path | None,
        fresh: Sequence[str] = (),
        say: Callable[[str], None] = lambda sentence: None,
    ) -> BlobId:
        """Starting parameters, fresh or from a file (but for what `fresh` says), as a blob of the store.

        `say` gets a sentence on what was taken from the file.
        """
        out = self._scratch_file("initial")
        self._own_start = self._scratch_file("own") if start is not None else None
        try:
            said = await _job_errors(self._trainer.initial(out, seed, start, fresh, self._own_start))
            if said:
                say(said)
            return self._store.put_staged(await self._offload(self._store.stage_file, out))
        finally:
            with contextlib.suppress(OSError):
                out.unlink()

    def _scratch_file(self, what: str) -> Path:
        """A file of its own for each request: two trainers may be at work at once."""
        return self._scratch / f"{what}-{secrets.token_hex(8)}.bin"

    async def export(self, model: Model, out: Path, format_: str, metadata: dict[str, str]) -> None:
        path = self._store.blob_path(model.blob)
        await _job_errors(self._trainer.export(path, out, format_, metadata, model.shape))

    async def export_serving(
        self, model: Model, out: Path, sketch_out: Path, metadata: dict[str, str]
    ) -> None:
        """The two ONNX files of a served model, as `TrainerProcess.export_serving` writes them."""
        path = self._store.blob_path(model.blob)
        await _job_errors(self._trainer.export_serving(path, out, sketch_out, metadata, model.shape))

    async def close(self) -> None:
        await self._trainer.close()


async def _job_errors(work: Awaitable[T]) -> T:
    """`work`, with a dead or cancelled child as ChildProcessError."""
    try:
        return await work
    except TrainerDied as error:
        raise ChildProcessError(str(error)) from error
    except MusterError as error:
        if error.code == "interrupted":
            raise ChildProcessError(error.sentence) from error
        raise
