"""Answered samples, on to the node's local set, and labels that come for them.

All of SQLite happens in one thread. What fails there stops the keeping of samples, which is said and tried
again, and never an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from numpy.typing import NDArray

from muster.errors import MusterError
from muster.local.local_set import LocalSet
from muster.local.rows import Answered, Label
from muster.serving.answers import classes_of
from muster.serving.labelling import limits_of
from muster.serving.models import ENTROPY, OUTPUT, Loaded
from muster.serving.settings import ServeConfig

BUFFERED_MAX = 50  # samples in one transaction
FLUSH_S = 1.0
PAUSE_S = 15.0  # of keeping, after a fault
RECENT_MAX, RECENT_BYTES_MAX = 1024, 8_000_000  # answers that feedback finds although they were not kept

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True):
    """What a request was answered, as long as labels may come for it."""

    x: NDArray[Any]  # (n, ...)
    output: NDArray[Any] | None  # (n, ...) of a classifier
    entropy: NDArray[Any] | None  # (n,) of a classifier
    version: str

    def label(self, place: int) -> Label | None:
        """The class that one sample was given."""
        return None if self.output is None else classes_of(self.output[place : place + 1])[0]


class Samples:
    """Keeps a share of the answers, and what labels say of them."""

    def __init__(self, path: Path, config: ServeConfig, say: Callable[[str], None]) -> None:
        self._path, self._config, self._say = path, config, say
        self._limits = limits_of(config)
        self._thread = ThreadPoolExecutor(1, "samples")
        self._set: LocalSet | None = None  # the thread's own
        self._buffer: list[Answered] = []
        self._second, self._in_second = 0, 0
        self._recent: OrderedDict[str, Answer] = OrderedDict()
        self._recent_bytes = 0
        self._again_s = 0.0
        self._flushing: asyncio.Future[None] | None = None
        self.fault = ""  # why nothing is kept now
        self.kept = 0  # since the start

    # ---- on the loop ---------------------------------------------------------------------------------

    def takes_none(self, now_s: float) -> bool:
        """Whether so many samples were kept in this second (Unix time) that no more are."""
        return int(now_s) == self._second and self._in_second >= self._config.keep_per_s

    def see(self, id_: str, answer: Answer, *, labels_may_come: bool) -> NDArray[Any] | None:
        """Take an answer; the samples of it that will be kept."""
        x = answer.x
        if labels_may_come and x.nbytes <= RECENT_BYTES_MAX // 8:
            self._remember(id_, answer)
        if not self._config.keep:
            return None
        now_s = time.time()
        if int(now_s) != self._second:
            self._second, self._in_second = int(now_s), 0
        count = min(len(x), self._config.keep_per_s - self._in_second)
        if count <= 0 or (self.fault and now_s < self._again_s) or len(self._buffer) >= 2 * BUFFERED_MAX:
            return None
        self._in_second += count
        for i in range(count):
            self._buffer.append(
                Answered(
                    key_of(id_, i),
                    x[i].copy(),  # the request's whole body would stay else
                    answer.label(i),
                    None if answer.entropy is None else float(answer.entropy[i]),
                    answer.version,
                    now_s,
                )
            )
        if len(self._buffer) >= BUFFERED_MAX:
            self._begin_flush()
        return x[:count]

    def _remember(self, id_: str, answer: Answer) -> None:
        former = self._recent.pop(id_, None)
        self._recent_bytes += answer.x.nbytes - (former.x.nbytes if former else 0)
        self._recent[id_] = answer
        while len(self._recent) > RECENT_MAX or self._recent_bytes > RECENT_BYTES_MAX:
            self._recent_bytes -= self._recent.popitem(last=False)[1].x.nbytes

    async def keep(self) -> None:
        """Write what waits, once a second, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            self._begin_flush()

    def _begin_flush(self) -> None:
        if self._buffer and (self._flushing is None or self._flushing.done()):
            rows, self._buffer = self._buffer, []
            self._flushing = asyncio.get_running_loop().run_in_executor(self._thread, self._write, rows)

    async def feedback(self, id_: str, labels: Sequence[Label | None]) -> int:
        """Give the samples of a request their labels; how many are known. Durable. Raises MusterError."""
        rows, self._buffer = self._buffer, []
        work = partial(self._label, rows, id_, list(labels), self._recent.get(id_))
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def alarm(self, z: float, what: str) -> int:
        """Begin a new epoch; its number. Raises MusterError."""
        rows, self._buffer = self._buffer, []

        def begin(known: LocalSet) -> int:
            self._write(rows)
            return known.alarm(z, what)

        return await self.call(begin)

    async def call(self, work: Callable[[LocalSet], T]) -> T:
        """Do something with the local set, in the thread. Raises MusterError."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._opened()))

    async def close(self) -> None:
        rows, self._buffer = self._buffer, []
        with suppress(MusterError):
            await asyncio.get_running_loop().run_in_executor(self._thread, self._last, rows)
        self._thread.shutdown(wait=False)

    # ---- in the thread -------------------------------------------------------------------------------

    def _opened(self) -> LocalSet:
        if self._set is None:
            self._set = LocalSet.open(self._path, self._limits)
        return self._set

    def _write(self, rows: list[Answered]) -> None:
        if not rows:
            return
        try:
            self.kept += sum(id_ is not None for id_ in self._opened().add_answers(rows))
        except MusterError as error:
            self._again_s = time.time() + PAUSE_S
            if error.sentence != self.fault:
                self._say(f"samples are not kept: {error.sentence}")
            self.fault = error.sentence
            return
        if self.fault:
            self._say("samples are kept again")
        self.fault = ""

    def _label(
        self, rows: list[Answered], id_: str, labels: list[Label | None], recent: Answer | None
    ) -> int:
        self._write(rows)
        known = self._opened()
        found = 0
        for i, label in enumerate(labels):
            if label is None:
                continue
            if known.label(key_of(id_, i), label):
                found += 1
            elif recent is not None and i < len(recent.x):
                known.add_labelled(recent.x[i], label, key_of(id_, i), None, recent.label(i), recent.version)
                found += 1
        return found

    def _last(self, rows: list[Answered]) -> None:
        self._write(rows)
        if self._set is not None:
            self._set.close()


def key_of(id_: str, place: int) -> str:
    """By which a label finds one sample of a request."""
    return id_ if place == 0 else f"{id_}/{place}"


def answer_of(loaded: Loaded, x: NDArray[Any], outputs: Mapping[str, NDArray[Any]]) -> Answer:
    """What is kept of the outputs of a model for samples (n, ...)."""
    if not loaded.classifies:
        return Answer(x, None, None, loaded.version)
    return Answer(x, outputs[OUTPUT], outputs[ENTROPY], loaded.version)
