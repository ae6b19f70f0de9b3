"""The public functions of `import muster` (`muster.__all__`); docs/python.md has them in full.

    import muster

    result = muster.train("digits", rounds=20)
    print(result.accuracy)
    result.export("model.safetensors")

They ask a node that runs on this machine (`muster node`), as the commands `muster train` and `muster track`
do.  `muster.aio` has the same for an event loop.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from muster.cli.commands.train import beginning
from muster.cli.follow import ENDED, ask, find
from muster.errors import MusterError
from muster.node.api.client import Client, choose
from muster.node.api.plan_view import PlanView
from muster.node.api.rounds.schema import Round, Rounds
from muster.node.api.rounds.stream import AWAY_S, Batch, Reader
from muster.node.api.rounds.stream import follow as batches
from muster.node.api.snapshot import JobSnapshot, NodeEvent

if TYPE_CHECKING:
    from torch import nn

    from muster.learning.task import Task


@dataclass(frozen=True)
class Result:
    """A job, as it was when this was made: after `train`, at its end.

    `job`: its id, 64 hex digits.  `rounds`: how many were done.  `metrics`: the model's figures on held-out
    data by name, the headline first; {} when nothing was measured.  Accuracy and other shares are 0..1, a
    loss is in nats a sample; they are of the last commit that was measured.  `accuracy` is one of them, None
    where there is none.  `view`: all else that the node says of it: `JobSnapshot` in docs/cli-json.md.
    """

    job: str
    accuracy: float | None
    rounds: int
    metrics: dict[str, float]
    view: JobSnapshot
    client: Client

    def export(self, to: str | os.PathLike[str], *, best: bool = False) -> list[Path]:
        """Write the model: FILE.safetensors, FILE.onnx, or both for a name without suffix.

        `best`: that of the best commit which was measured, not of the last one.
        """
        target = Path(to).expanduser().absolute()
        return [Path(path) for path in self.client.export(self.job, target, best=best).paths]

    def model(self, task: Task | None = None, *, best: bool = False) -> nn.Module:
        """The trained model: the task's `torch.nn.Module` with the job's parameters, on the CPU, in `eval()`.

        Its input and output have the shapes that the task gives them, the batch first.  The task is the one
        that the node has, by its name or file, which is imported here; or `task`, made by the caller.
        `best`: as in `export`.  Raises MusterError: no_result before the first commit is here, task_fault,
        fingerprint when the task describes another model.
        """
        from muster.learning.task import load
        from muster.learning.trained import trained_module

        if task is None:
            source = self.client.task_source(self.view.task)
            task = load(source.reference, source.options)
        with tempfile.TemporaryDirectory(prefix="muster-model-") as folder:
            (path,) = self.export(Path(folder) / "model.safetensors", best=best)
            return trained_module(task, path)


class Callback:
    """What `train` tells while a job runs. Derive from it and override what you need.

    What a method raises ends the following, and comes out of `train`; the job goes on.
    """

    def on_begin(self, job: JobSnapshot) -> None:
        """The job was published: its id, task, recipe, metrics."""

    def on_round(self, round: Round) -> bool | None:
        """A round was done and measured. True ends the job, as `muster stop` does; its model is kept."""

    def on_end(self, result: Result) -> None:
        """The job has ended with a model."""


class Tracker(Callback):
    """Writes a job's rounds as they are done, as `muster track` does, which can also go on with it later.

    `places`: "tensorboard:DIR", "mlflow:URI", "csv:FILE", "jsonl:FILE".  One that fails is tried again at the
    next round.  Raises MusterError: usage at the begin, tracker or disk_full at the end.
    """

    def __init__(self, *places: str) -> None:
        from muster.cli.track.target import opened

        self._targets = [opened(place) for place in places]
        self._unwritten: list[list[Round]] = [[] for _ in places]
        self._view: JobSnapshot | None = None

    def on_begin(self, job: JobSnapshot) -> None:
        self._view = job
        for target in self._targets:
            target.resume(_header(job, 0.0))

    def on_round(self, round: Round) -> None:
        for unwritten in self._unwritten:
            unwritten.append(round)
        self._write(round.age_s)

    def _write(self, age_s: float) -> list[MusterError]:
        """What went wrong; it is tried again at the next round."""
        assert self._view is not None
        wrong: list[MusterError] = []
        for target, unwritten in zip(self._targets, self._unwritten, strict=True):
            try:
                while unwritten:
                    target.write(_header(self._view, age_s), unwritten[0])
                    del unwritten[0]
            except MusterError as error:
                wrong.append(error)
        return wrong

    def on_end(self, result: Result) -> None:
        self._view = result.view
        wrong = self._write(result.view.age_s)
        for target in self._targets:
            target.close(_header(result.view, result.view.age_s))
        if wrong:
            raise wrong[0]


def _header(view: JobSnapshot, age_s: float) -> Rounds:
    """What a tracker has to know of a job beside its rounds."""
    return Rounds(
        job=view.id,
        task=view.task,
        state=view.state,
        why=view.why,
        over=view.state in ENDED,
        error=view.error,
        age_s=age_s,
        metrics={metric.name: metric.best for metric in view.metrics},
        recipe=view.recipe,
        rounds=[],
        more=False,
        event=0,
    )


def train(
    task: str,
    *,
    start: str | os.PathLike[str] | None = None,
    node: str | None = None,
    timeout_s: float | None = None,
    away_s: float | None = AWAY_S,
    on_event: Callable[[NodeEvent], None] | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Result:
    """Train `task` with every node in reach of `node` (a name or home) and wait for the end.

    `start`: parameters to begin with, a safetensors file or a commit (hex digits).  `timeout_s`: how long to
    wait.  `away_s`: how long the node may be away in one piece; None: for ever.  `on_event` gets what the
    node logs, as it happens; `callbacks` the job's begin, rounds and end.

    Options, as of `muster train`: rounds, target (0.95 of the headline, or "loss=0.3"), stop_when ("no better
    for 10"), seconds, bytes, bytes_node, joules, joules_node; lr (None: a short test finds it), lr_end,
    batch, steps, seed, momentum, server_momentum, average, codec, down_codec; one_shot ("auto", or a
    number of steps); share ("always": nodes are asked for samples that stand in for them), share_bytes; width
    (of the model, 0.5: half of its channels), prune ("0.5@8": half of them from round 8 on); min_nodes,
    patience_s, linger_s; fresh (patterns of tensors that `start` does not give); stoppers (names of nodes
    that may stop the job, too).

    Ctrl-C ends the waiting only; the job goes on.  Raises MusterError: failed, timeout, no_node, and what is
    wrong with the options.
    """
    client = choose(node)
    if start is not None:
        options["from"] = beginning(os.fspath(start))
    since = client.snapshot().event
    job, since = ask(client, task, options, since, on_event)
    with contextlib.closing(_batches(client, Reader(job), away_s, timeout_s, since, on_event)) as found:
        return through(client, job, found, callbacks)


def plan(task: str, *, node: str | None = None, **options: Any) -> PlanView:
    """What a job would take, by what is known before anybody is asked: as `muster plan`.

    Options as of `train`.  The first round by node (`nodes`), the first rounds, `seconds`, `bytes` and
    `joules` of all `rounds_planned`, and `sentences` that say what ends the job and what is not known.
    """
    return choose(node).plan(task, **options)


def through(client: Client, job: str, found: Iterator[Batch], callbacks: Sequence[Callback]) -> Result:
    """Tell callbacks of a job until its end."""
    tell = Telling(callbacks)
    if callbacks:
        tell.begin(find(client, job))
    for batch in found:
        if tell.rounds(batch.rounds):
            client.stop(job, "by a callback")
        check_failed(batch.job)
    made = result(job, client=client)
    tell.end(made)
    return made


@dataclass
class Telling:
    """Calls callbacks in their order."""

    callbacks: Sequence[Callback]
    stopped: bool = False

    def begin(self, job: JobSnapshot) -> None:
        for callback in self.callbacks:
            callback.on_begin(job)

    def rounds(self, found: Sequence[Round]) -> bool:
        """Whether one of them wants the job to end, now for the first time."""
        wanted = [callback.on_round(r) for r in found for callback in self.callbacks]
        first = any(wanted) and not self.stopped
        self.stopped |= first
        return first

    def end(self, made: Result) -> None:
        for callback in self.callbacks:
            callback.on_end(made)


def check_failed(job: Rounds) -> None:
    """Raises MusterError failed for a job that ended without a model."""
    if job.state == "failed":
        raise MusterError("failed", f"job {job.job[:8]} ended without a model: {job.error or job.why}")


def result(job: str, *, node: str | None = None, client: Client | None = None) -> Result:
    """The result of a job so far: of one that ended, or of what a running one has reached.

    `job`: its id or the beginning of it.  Raises MusterError: unknown_job, no_node.
    """
    client = client or choose(node)
    log = client.log(job)
    view = msgspec.structs.replace(log.job, commits=log.commits)
    return Result(view.id, view.accuracy, view.round, view.figures, view, client)


def follow(
    job: str,
    *,
    node: str | None = None,
    after: int = 0,
    timeout_s: float | None = None,
    away_s: float | None = AWAY_S,
) -> Generator[Round, None, None]:
    """The rounds of a job, from the one after number `after` on, as they are done; ends with the job.

    `job`: its id or the beginning of it.  A round comes when its metrics are there, or two rounds later
    without them.  Each update is in one round.  Where a divided network is healed the merge is a round of its
    own, and the numbers may go back there; a job that does not end with its last model has its closing one as
    an item more (`kind`).  A node that ends and comes back is gone on with, for `away_s`.

    Raises MusterError: failed, timeout, no_node, unknown_job.
    """
    client = choose(node)
    return _rounds(_batches(client, Reader(job, number=after), away_s, timeout_s))


def _batches(
    client: Client,
    reader: Reader,
    away_s: float | None,
    timeout_s: float | None,
    since: int | None = None,
    on_event: Callable[[NodeEvent], None] | None = None,
) -> Generator[Batch, None, None]:
    return batches(client, [reader], away_s=away_s, timeout_s=timeout_s, since=since, on_event=on_event)


def _rounds(found: Generator[Batch, None, None]) -> Generator[Round, None, None]:
    with contextlib.closing(found):
        for batch in found:
            yield from batch.rounds
            check_failed(batch.job)
