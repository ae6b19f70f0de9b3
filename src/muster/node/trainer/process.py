"""The daemon's side of training: a child process that imports torch, behind a small interface.

`TrainerProcess` starts the child at the first request, keeps it for the job and ends it with `close`.  A
child that dies is an event (`TrainerDied`, with its last words); the next request starts another.  One
request at a time; others wait in line.  This module never imports torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from muster.compression.tensors import Layout
from muster.errors import MusterError
from muster.node.trainer.child import MESSAGE_BYTES_MAX, pack_message
from muster.node.trainer.messages import (
    ContributionMessage,
    EvaluatedMessage,
    Progress,
    TaskFacts,
    TaskSource,
    TrainedMessage,
)
from muster.protocol.envelope import UNREADABLE

START_TIMEOUT_S = 120.0  # importing torch from a slow card
CANCEL_TIMEOUT_S = 10.0  # a step in the middle of a large batch
CLOSE_TIMEOUT_S = 3.0
SILENCE_TIMEOUT_S = 600.0  # no progress and no answer for this long: the task hangs
STDERR_LINES_MAX = 40
STDERR_LINE_BYTES_MAX = 400


class TrainerDied(Exception):
    """The child ended by itself; the message has its exit status and last lines."""


OnProgress = Callable[[Progress], None]


@dataclass
class _Child:
    process: asyncio.subprocess.Process
    last_words: deque[str]
    listening: asyncio.Task[None]
    request: int = 0


class TrainerProcess:
    """Training in a child process. Paths go in, paths come out; `adapter.StoreTrainer` fits it to a job.

    All raise MusterError for what a person can mend, else TrainerDied. Cancelling the awaiting asyncio task
    cancels the work.
    """

    def __init__(self) -> None:
        self._child: _Child | None = None
        self._source: TaskSource | None = None
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the child, while there is one."""
        return None if self._child is None else self._child.process.pid

    async def open(self, source: TaskSource) -> TaskFacts:
        async with self._turn:
            self._source = source
            child = await self._alive(reopen=False)
            answer = await self._request(child, self._opening(source), None)
        return TaskFacts(
            name=answer["name"],
            version=answer["version"],
            fingerprint=answer["fingerprint"],
            layout=Layout.from_plain(answer["layout"]),
            samples=answer["samples"],
            classes=tuple((label, count) for label, count in answer["classes"]),
            common=answer["common"],
        )

    async def initial(self, out: Path, seed: int, source: Path | None = None) -> None:
        """Write starting parameters, fresh from `seed` or from a safetensors file."""
        start = None if source is None else str(source)
        await self._do({"do": "initial", "out": str(out), "seed": seed, "source": start})

    async def measure_speed(self, batch: int) -> float:
        """Seconds of one step."""
        return float((await self._do({"do": "measure_speed", "batch": batch}))["step_s"])

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
        progress: OnProgress | None = None,
    ) -> TrainedMessage:
        """Train from the dense blob `base`; the difference to it becomes the dense blob `out`."""
        request = {"do": "train", "base": str(base), "out": str(out), "steps": steps, "lr": lr}
        request |= {"batch": batch, "momentum": momentum, "seed": seed}
        return TrainedMessage(**await self._do(request, progress))

    async def evaluate(
        self,
        base: Path,
        which: str = "common",
        progress: OnProgress | None = None,
        limit: int | None = None,
    ) -> EvaluatedMessage:
        """On the "common" evaluation set or on what is held out of the "own" data; 0 examples if none."""
        request = {"do": "evaluate", "base": str(base), "which": which, "limit": limit}
        return EvaluatedMessage(**await self._do(request, progress))

    async def value(
        self, before: Path, updates: Sequence[tuple[float, bytes | Path]], which: str, limit: int
    ) -> ContributionMessage:
        """What each update, (weight, message or its file), was worth on top of `before` (see learning)."""
        plain = [[weight, str(u) if isinstance(u, Path) else u] for weight, u in updates]
        request = {"do": "value", "before": str(before), "updates": plain, "which": which, "limit": limit}
        found = await self._do(request)
        return ContributionMessage(tuple(found["values"]), found["before"], found["after"], found["examples"])

    async def export(self, base: Path, out: Path, format: str, metadata: dict[str, str]) -> None:
        """As "safetensors" or "onnx"."""
        request = {"do": "export", "base": str(base), "out": str(out), "format": format}
        await self._do(request | {"metadata": metadata})

    async def cancel(self) -> None:
        """End what is under way; its caller gets MusterError("interrupted")."""
        child = self._child
        if child is not None and child.process.stdin is not None:
            with contextlib.suppress(OSError, RuntimeError):
                child.process.stdin.write(pack_message({"do": "cancel", "of": child.request}))

    async def close(self) -> None:
        """Let the child go; the next request needs `open` again."""
        await self._end(CLOSE_TIMEOUT_S)
        self._source = None

    async def _do(self, request: dict[str, Any], progress: OnProgress | None = None) -> dict[str, Any]:
        async with self._turn:
            child = await self._alive(reopen=True)
            return await self._request(child, request, progress)

    async def _alive(self, *, reopen: bool) -> _Child:
        """The child, started (and given the task again) when there is none."""
        child = self._child
        if child is not None and child.process.returncode is None:
            return child
        await self._end(0.0)
        if self._source is None:
            raise MusterError("internal", "the trainer was asked to work before it was told the task")
        child = await self._start()
        if reopen:
            await self._request(child, self._opening(self._source), None)
        return child

    async def _start(self) -> _Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "muster.node.trainer.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "MUSTER_TRAINER_PARENT": str(os.getpid())},
        )
        last_words: deque[str] = deque(maxlen=STDERR_LINES_MAX)
        assert process.stderr is not None
        listening = asyncio.create_task(_listen(process.stderr, last_words))
        self._child = child = _Child(process, last_words, listening)
        await self._guarded(child, self._read(child, START_TIMEOUT_S))
        return child

    @staticmethod
    def _opening(source: TaskSource) -> dict[str, Any]:
        opening = {"do": "open", "reference": source.reference, "options": source.options}
        limits = {"threads": source.threads, "niceness": source.niceness, "throttle": source.throttle}
        return opening | limits

    async def _request(
        self, child: _Child, request: dict[str, Any], progress: OnProgress | None
    ) -> dict[str, Any]:
        child.request += 1
        assert child.process.stdin is not None
        try:
            child.process.stdin.write(pack_message({"id": child.request} | request))
        except (OSError, RuntimeError):
            raise await self._died(child) from None
        try:
            result: dict[str, Any] = await self._guarded(child, self._answer(child, progress))
            return result
        except asyncio.CancelledError:
            settling = asyncio.ensure_future(self._settle(child))
            while not settling.done():  # cancelled again meanwhile: still nobody else may use the child yet
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(settling)
            raise

    async def _guarded(self, child: _Child, work: Any) -> Any:
        """`work`, with the child's end and its silence turned into TrainerDied."""
        try:
            return await work
        except (asyncio.IncompleteReadError, ConnectionError, *UNREADABLE):
            raise await self._died(child) from None
        except TimeoutError:
            child.last_words.append("it gave no sign of life and was ended")
            raise await self._died(child) from None

    async def _answer(self, child: _Child, progress: OnProgress | None) -> dict[str, Any]:
        while True:
            message = await self._read(child, SILENCE_TIMEOUT_S)
            if message.get("id") != child.request:
                continue
            if "result" in message:
                result: dict[str, Any] = message["result"]
                return result
            if "error" in message:
                raise MusterError(message["code"], message["sentence"])
            if progress is not None:
                progress(Progress(**message["progress"]))

    async def _read(self, child: _Child, timeout_s: float) -> dict[str, Any]:
        assert child.process.stdout is not None
        async with asyncio.timeout(timeout_s):
            head = await child.process.stdout.readexactly(4)
            (length,) = struct.unpack(">I", head)
            if length > MESSAGE_BYTES_MAX:
                raise ConnectionError("the child's message is over the limit")
            body = await child.process.stdout.readexactly(length)
        return msgspec.msgpack.decode(body, type=dict[str, Any])

    async def _settle(self, child: _Child) -> None:
        """After a cancellation: have the child stop, or end it, so that the next request finds it at rest."""
        await self.cancel()
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await self._answer(child, None)
        except MusterError:
            return
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, *UNREADABLE):
            await self._end(0.0)

    async def _died(self, child: _Child) -> TrainerDied:
        await self._end(1.0)
        words = " | ".join(list(child.last_words)[-5:]) or "it said nothing"
        return TrainerDied(f"the training process ended with status {child.process.returncode}: {words}")

    async def _end(self, grace_s: float) -> None:
        """Close its stdin, which ends it; kill it after `grace_s`; wait for it."""
        child, self._child = self._child, None
        if child is None:
            return
        process = child.process
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            try:
                async with asyncio.timeout(grace_s):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):  # a grandchild may hold stderr open
                await child.listening
        # without this the pipes' transports are closed only when the garbage collector finds them
        process._transport.close()  # type: ignore[attr-defined]


async def _listen(stderr: asyncio.StreamReader, into: deque[str]) -> None:
    """Keep the last lines; read on whatever comes, so that the child never blocks on a full pipe."""
    rest = b""
    while block := await stderr.read(8192):
        *lines, rest = (rest + block).split(b"\n")
        rest = rest[-STDERR_LINE_BYTES_MAX:]
        into.extend(text for line in lines if (text := _text(line)))
    if text := _text(rest):
        into.append(text)


def _text(line: bytes) -> str:
    return line[:STDERR_LINE_BYTES_MAX].decode(errors="replace").strip()
