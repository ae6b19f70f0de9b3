"""One trainer child as its parent sees it: start, requests and their answers, cancellation, end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from muster.errors import MusterError
from muster.node.trainer.framing import pack_message, receive_message
from muster.node.trainer.liveness import Liveness, cpu_s_of
from muster.node.trainer.messages import Progress
from muster.node.trainer.started import StartedProcess
from muster.protocol.envelope import UNREADABLE

START_TIMEOUT_S = 120.0  # importing torch from a slow card
CANCEL_TIMEOUT_S = 10.0  # a step in the middle of a large batch
LOOK_S = 15.0  # between two looks at a child that says nothing
STDERR_LINES_MAX = 40
STDERR_LINE_BYTES_MAX = 400

OnProgress = Callable[[Progress], None]
T = TypeVar("T")


class TrainerDied(Exception):
    """The child ended by itself; the message has its exit status and the last lines of its stderr."""


class ChildProcess:
    """A child from `spawn` to `end`. One request at a time; a child that has died takes no more."""

    def __init__(self, process: StartedProcess, report: Callable[[str], None]) -> None:
        self._process, self._report = process, report
        self._stderr_lines: deque[str] = deque(maxlen=STDERR_LINES_MAX)
        self._stderr_reader = asyncio.create_task(_keep_lines(process.stderr, self._stderr_lines))
        self._request_id = 0
        self._receiving: asyncio.Task[dict[str, Any]] | None = None  # goes on over time-outs
        self.ended = False

    @classmethod
    async def spawn(cls, report: Callable[[str], None] = lambda sentence: None) -> ChildProcess:
        """Start the process; `ready` waits for its imports. `report` hears when it seems to hang."""
        env = {**os.environ, "MUSTER_TRAINER_PARENT": str(os.getpid())}
        process = await StartedProcess.start((sys.executable, "-m", "muster.node.trainer.child"), env)
        return cls(process, report)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return not self.ended and self._process.returncode is None

    async def ready(self) -> None:
        """Wait for the child's first message. Raises TrainerDied."""
        await self._guarded(self._message(Liveness(_now_s(), START_TIMEOUT_S)))

    async def request(self, request: dict[str, Any], progress: OnProgress | None = None) -> dict[str, Any]:
        """Send a request and wait for its result. Raises MusterError, TrainerDied.

        When the awaiting task is cancelled, the child is at rest again before the cancellation goes on.
        """
        self._request_id += 1
        try:
            self._process.stdin.write(pack_message({"id": self._request_id} | request))
        except (OSError, RuntimeError):
            raise await self._died() from None
        try:
            return await self._guarded(self._answer(progress))
        except asyncio.CancelledError:
            settling = asyncio.ensure_future(self._settle())
            while not settling.done():  # cancelled again meanwhile: still nobody else may use the child yet
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(settling)
            raise

    def cancel(self) -> None:
        """Cancel the current request."""
        if not self.ended:
            with contextlib.suppress(OSError, RuntimeError):
                self._process.stdin.write(pack_message({"do": "cancel", "of": self._request_id}))

    async def end(self, grace_s: float) -> None:
        """Close its stdin, which ends it; kill it after `grace_s`; wait for it."""
        if self.ended:
            return
        self.ended = True
        if self._receiving is not None:
            self._receiving.cancel()
        process = self._process
        process.stdin.close()
        if process.returncode is None:
            try:
                async with asyncio.timeout(grace_s):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):  # a grandchild may hold stderr open
                await self._stderr_reader
        process.close()

    async def _guarded(self, work: Coroutine[Any, Any, T]) -> T:
        """`work`, with the child's end and its silence turned into TrainerDied."""
        try:
            return await work
        except (asyncio.IncompleteReadError, ConnectionError, *UNREADABLE):
            raise await self._died() from None
        except TimeoutError:
            self._stderr_lines.append("it neither got on nor computed anything, and was ended")
            raise await self._died() from None

    async def _answer(self, progress: OnProgress | None) -> dict[str, Any]:
        liveness = Liveness(_now_s())
        while True:
            message = await self._message(liveness)
            if message.get("id") != self._request_id:
                continue
            if "cpu_s" in message:
                liveness.cpu(_now_s(), message["cpu_s"])
                continue
            liveness.progress(_now_s())
            if "result" in message:
                result: dict[str, Any] = message["result"]
                return result
            if "error" in message:
                raise MusterError(message["code"], message["sentence"])
            if progress is not None:
                progress(Progress(**message["progress"]))

    async def _message(self, liveness: Liveness) -> dict[str, Any]:
        """The child's next message. Raises TimeoutError when it hangs, and what `receive_message` raises."""
        while True:
            if liveness.hangs(_now_s()):
                raise TimeoutError
            if (left_s := liveness.warning_s(_now_s())) is not None:
                self._report(f"the trainer does not move: it is ended in {left_s:.0f} s unless it does")
            if self._receiving is None:
                self._receiving = asyncio.create_task(receive_message(self._process.stdout))
            done, _ = await asyncio.wait({self._receiving}, timeout=LOOK_S)
            if done:
                received, self._receiving = self._receiving, None
                return received.result()
            if self._process.returncode is not None:  # a grandchild holds its end of the pipe
                raise ConnectionError("the child has ended")
            # what computes without letting Python run sends no heartbeat
            liveness.cpu(_now_s(), cpu_s_of([self.pid]))

    async def _settle(self) -> None:
        """After a cancellation: have the child stop, or end it, so that the next request finds it at rest."""
        self.cancel()
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await self._answer(None)
        except MusterError:
            return
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, *UNREADABLE):
            await self.end(0.0)

    async def _died(self) -> TrainerDied:
        await self.end(1.0)
        lines = " | ".join(list(self._stderr_lines)[-5:]) or "it said nothing"
        return TrainerDied(f"the training process ended with status {self._process.returncode}: {lines}")


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _keep_lines(stderr: asyncio.StreamReader, into: deque[str]) -> None:
    """Keep the last lines of stderr; read all of it, so that the child never blocks on a full pipe."""
    rest = b""
    while block := await stderr.read(8192):
        *lines, rest = (rest + block).split(b"\n")
        rest = rest[-STDERR_LINE_BYTES_MAX:]
        into.extend(text for line in lines if (text := _text(line)))
    if text := _text(rest):
        into.append(text)


def _text(line: bytes) -> str:
    return line[:STDERR_LINE_BYTES_MAX].decode(errors="replace").strip()
