"""The daemon's side of training: requests to a child process that imports torch.

`TrainerProcess` starts the child at the first request, keeps it for the job and ends it with `close`.  When a
child dies the request raises TrainerDied, and the next one starts another child.  Requests are sent one at a
time; others wait in line.  This module never imports torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from muster.algorithms.contribution import Contributions
from muster.algorithms.slimming.structure import Structure
from muster.compression.tensors import Layout
from muster.errors import MusterError
from muster.job.context import Difference
from muster.node.trainer.child_process import ChildProcess, OnProgress
from muster.node.trainer.messages import (
    EvaluatedMessage,
    InspectedMessage,
    RateMessage,
    SamplesMessage,
    ServingMessage,
    TaskFacts,
    TaskSource,
    TensorFacts,
    TrainedMessage,
)
from muster.protocol.ids import BlobId, JobId
from muster.protocol.parts import Metric

CLOSE_TIMEOUT_S = 3.0
# requests that have to do with what stays on the node, and those that may use samples labelled on it
LOCAL = ("train", "fine_tune", "evaluate", "value", "export", "export_serving")
LABELS = ("count_labels", "train", "fine_tune", "evaluate", "value")


class TrainerProcess:
    """Trains in a child process. Paths go in, paths come out.

    All methods raise MusterError for what a person can mend, else TrainerDied. Cancelling the awaiting
    asyncio task cancels the work.
    """

    def __init__(self, report: Callable[[str], None] = lambda sentence: None) -> None:
        """`report` gets a sentence when the child seems to hang."""
        self._report = report
        self._child: ChildProcess | None = None
        self._source: TaskSource | None = None
        self._local: Path | None = None
        self._labels: dict[str, Any] = {}
        self._taken: dict[str, dict[str, Any]] = {}  # what was taken: the last request of each kind
        self.share = 1.0  # of the time, that the child computes
        self._lock = asyncio.Lock()  # one request at a time

    @property
    def pid(self) -> int | None:
        """Of the child, while there is one."""
        return self._child.pid if self._child is not None and not self._child.ended else None

    async def open(self, source: TaskSource) -> TaskFacts:
        """Load a task in the child and say what was found."""
        async with self._lock:
            self._source, self._taken = source, {}
            child = await self._running_child(reopen=False)
            answer = await child.request(_opening(source))
        return TaskFacts(
            name=answer["name"],
            version=answer["version"],
            fingerprint=answer["fingerprint"],
            layout=Layout.from_plain(answer["layout"]),
            samples=answer["samples"],
            classes=tuple((label, count) for label, count in answer["classes"]),
            common=answer["common"],
            metrics=tuple(Metric(name, best, exp) for name, best, exp in answer["metrics"]),
            defaults=answer["defaults"],
            skipped=answer.get("skipped", 0),
            steps_max=answer["steps_max"],
        )

    def keep_local(self, path: Path) -> None:
        """The file of what a job keeps on this node, for all requests from now on."""
        self._local = path

    def use_labels(self, path: Path, job: JobId, replay: int | None) -> None:
        """The samples that people labelled on this node, for all requests from now on, as `job` has them.

        `replay`: old samples in each batch of a job that adapts; None: it is another one.
        """
        self._labels = {"labels_here": {"set": str(path), "job": job.hex(), "replay": replay}}

    async def initial(
        self, out: Path, seed: int, source: Path | None = None, fresh: Sequence[str] = (),
        own_out: Path | None = None,
    ) -> str:  # fmt: skip
        """Write starting parameters, fresh from `seed` or from a file, but for what `fresh` says.

        `own_out` becomes what a job keeps on this node (`keep_local`), where the file has something of it.
        Returns a sentence on what was taken from the file; empty without one.
        """
        start, own = (None if path is None else str(path) for path in (source, own_out))
        request = {"do": "initial", "out": str(out), "seed": seed, "source": start, "fresh": list(fresh)}
        request |= {"own_out": own}
        return str((await self._do(request)).get("said", ""))

    async def differs(self, fingerprint: bytes) -> Difference:
        """What is not the same here as in a job with this fingerprint."""
        found = await self._do({"do": "differs", "fingerprint": fingerprint})
        return Difference(found["sentence"], found["in_frozen"])

    async def frozen(self, out: Path | None = None) -> tuple[BlobId, int]:
        """The SHA-256 and size of what the task does not train, which is written to `out` if that is given;
        (b"", 0) where nothing is frozen."""
        found = await self._do({"do": "frozen", "out": None if out is None else str(out)})
        return found["blob"], found["size_bytes"]

    async def take_frozen(self, path: Path, fingerprint: bytes) -> None:
        """Have what the task does not train from a file from now on; `fingerprint`: the task's with it."""
        request = {"do": "take_frozen", "path": str(path), "fingerprint": fingerprint}
        await self._do(request)
        self._taken["frozen"] = request

    async def take_width(self, width: float) -> Layout:
        """Have models of a fraction of the channels from now on; 1: whole ones. Their layout."""
        request = {"do": "take_width", "width": width}
        found = await self._do(request)
        self._taken["width"] = request
        return Layout.from_plain(found["layout"])

    async def narrow(self, base: Path, width: float, out: Path, shape: bytes = b"") -> None:
        """Write the model `base`, which is of another `width`, as one of the width that was taken."""
        await self._do({"do": "narrow", "base": str(base), "width": width, "out": str(out), "was": shape})

    async def structure(self) -> Structure:
        """The groups of channels of the task's model, at the width that was taken."""
        return Structure.from_plain((await self._do({"do": "structure"}))["groups"])

    async def measure_speed(self, batch: int) -> float:
        """Seconds of one step."""
        return float((await self._do({"do": "measure_speed", "batch": batch}))["step_s"])

    async def find_rate(
        self, base: Path, *, batch: int, momentum: float, seed: int, seconds: float, shape: bytes = b""
    ) -> RateMessage:
        """A learning rate for training from the dense blob `base`, found in `seconds` at most."""
        request = {"do": "find_rate", "base": str(base), "batch": batch, "momentum": momentum} | of(shape)
        return RateMessage(**await self._do(request | {"seed": seed, "seconds": seconds}))

    async def train(
        self,
        base: Path,
        out: Path,
        *,
        steps: int,
        lr: float,
        batch: int,
        momentum: float,
        seed: int,
        round: int = 1,
        samples: Sequence[tuple[Path, float]] = (),
        own_weight: float = 0.0,
        cosine: bool = False,
        shape: bytes = b"",
        progress: OnProgress | None = None,
    ) -> TrainedMessage:
        """Train from the dense blob `base`; the difference to it becomes the dense blob `out`.

        `shape`, here and below: which channels the model keeps, as in a commit; b"": all.

        `samples`, `own_weight`, `cosine`: as in `job.context.TrainingRequest`.
        """
        request = {"do": "train", "base": str(base), "out": str(out), "steps": steps, "lr": lr} | of(shape)
        request |= {"batch": batch, "momentum": momentum, "seed": seed, "round": round, "cosine": cosine}
        request |= {"samples": [[str(path), weight] for path, weight in samples], "own_weight": own_weight}
        return TrainedMessage(**await self._do(request, progress))

    async def count_labels(self) -> int:
        """Those of what changed on which a job that adapts trains here. Raises MusterError without any."""
        return int((await self._do({"do": "count_labels"}))["samples"])

    async def fine_tune(
        self, base: Path, out: Path, *, steps: int, lr: float, batch: int, momentum: float, seed: int,
        shape: bytes = b"",
    ) -> TrainedMessage:  # fmt: skip
        """Train from the dense blob `base` for this node alone; `out` becomes the whole model."""
        request = {"do": "fine_tune", "base": str(base), "out": str(out), "steps": steps, "lr": lr}
        request |= {"batch": batch, "momentum": momentum, "seed": seed} | of(shape)
        return TrainedMessage(**await self._do(request))

    async def evaluate(
        self,
        base: Path,
        which: str = "common",
        progress: OnProgress | None = None,
        limit: int | None = None,
        shape: bytes = b"",
    ) -> EvaluatedMessage:
        """On the "common" evaluation set or on what is held out of the "own" data; 0 examples if none."""
        request = {"do": "evaluate", "base": str(base), "which": which, "limit": limit} | of(shape)
        found = await self._do(request, progress)
        figures = {name: (total, count) for name, (total, count) in found["figures"].items()}
        return EvaluatedMessage(found["examples"], figures, found.get("skipped", 0))

    async def value(
        self, before: Path, updates: Sequence[tuple[float, bytes | Path, bytes]], which: str, limit: int,
        shape: bytes = b"",
    ) -> Contributions:  # fmt: skip
        """What each update, (weight, message or its file, shape), was worth on top of `before`.

        The formula: algorithms/contribution.py.
        """
        plain = [[weight, str(u) if isinstance(u, Path) else u, made_on] for weight, u, made_on in updates]
        request = {"do": "value", "before": str(before), "updates": plain, "which": which, "limit": limit}
        found = await self._do(request | of(shape))
        return Contributions(tuple(found["values"]), found["before"], found["after"], found["examples"])

    async def make_samples(
        self, out: Path, bytes_max: int, means_only: bool, labels: Sequence[int] | None, seed: int
    ) -> SamplesMessage | str:
        """A coreset of the node's training data in the file `out`, or why there is none."""
        request = {"do": "make_samples", "out": str(out), "bytes_max": bytes_max, "means_only": means_only}
        labels = None if labels is None else list(labels)
        found = await self._do(request | {"labels": labels, "seed": seed})
        return found["why"] if "why" in found else SamplesMessage(**found)

    async def check_samples(self, path: Path, kind: str, samples: int) -> str:
        """What is wrong with a coreset of which its record says so much; "": nothing."""
        request = {"do": "check_samples", "path": str(path), "kind": kind, "samples": samples}
        return str((await self._do(request))["fault"])

    async def export(
        self, base: Path, out: Path, format: str, metadata: dict[str, str], shape: bytes = b""
    ) -> None:
        """As "safetensors" or "onnx"."""
        request = {"do": "export", "base": str(base), "out": str(out), "format": format}
        await self._do(request | {"metadata": metadata} | of(shape))

    async def export_serving(
        self, model: Path, out: Path, sketch_out: Path, metadata: dict[str, str], shape: bytes = b""
    ) -> ServingMessage:
        """Write the dense blob `model`, or an exported .safetensors file, as the two ONNX files of a served
        model.

        `out`: from raw samples to answers; `sketch_out`: to what nodes are compared by.  `metadata`, as of
        `learning.export.metadata`, stands in both, over what a .safetensors file says.  Raises MusterError
        for a task that cannot be served.
        """
        given = {"file" if model.suffix == ".safetensors" else "base": str(model)}
        request = {"do": "export_serving", "out": str(out), "sketch_out": str(sketch_out)}
        found = await self._do(request | {"metadata": metadata} | given | of(shape))
        return ServingMessage(found["dtype"], tuple(found["shape"]), found["classes"])

    async def inspect(self) -> InspectedMessage:
        """What the model consists of, and what the child needed so far."""
        found = await self._do({"do": "inspect"})
        rows = (TensorFacts(n, tuple(s), d, b, k) for n, s, d, b, k in found["tensors"])
        return InspectedMessage(tuple(rows), found["memory_bytes"])

    async def cancel(self) -> None:
        """Cancel the current request; its caller gets MusterError("interrupted")."""
        if self._child is not None:
            self._child.cancel()

    async def close(self) -> None:
        """End the child; the next request needs `open` again."""
        await self._end(CLOSE_TIMEOUT_S)
        self._source = None

    async def _do(self, request: dict[str, Any], progress: OnProgress | None = None) -> dict[str, Any]:
        async with self._lock:
            child = await self._running_child(reopen=True)
            local = {} if self._local is None or request["do"] not in LOCAL else {"local": str(self._local)}
            if request["do"] in LABELS:
                local = local | self._labels
            share = {} if self.share >= 1 else {"share": self.share}
            return await child.request(request | local | share, progress)

    async def _running_child(self, *, reopen: bool) -> ChildProcess:
        """The child, started (and the task opened again) when there is none."""
        if self._child is not None and self._child.running:
            return self._child
        await self._end(0.0)
        if self._source is None:
            raise MusterError("internal", "the trainer was asked to work before a task was opened")
        self._child = child = await ChildProcess.spawn(self._report)
        await child.ready()
        if reopen:
            await child.request(_opening(self._source))
            for request in self._taken.values():
                await child.request(request)
        return child

    async def _end(self, grace_s: float) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end(grace_s)


def of(shape: bytes) -> dict[str, Any]:
    """What a request says of its model."""
    return {"shape": shape} if shape else {}


def _opening(source: TaskSource) -> dict[str, Any]:
    opening = {"do": "open", "reference": source.reference, "options": source.options}
    limits = {"threads": source.threads, "niceness": source.niceness, "throttle": source.throttle}
    return opening | limits
