"""The process that imports a task, and torch with it, one for each job (`process.TrainerProcess` starts it).

It reads requests from stdin and writes replies to stdout (framing.py); tensors go through files.  What the
task prints goes to stderr.  Requests are handled one at a time (session.py); `cancel` and the end of stdin
are noticed meanwhile.  At the end of stdin, or at the parent's death, the process ends at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

import muster
from muster.compression.tensors import TensorError
from muster.errors import MusterError
from muster.learning.faults import TaskFault
from muster.node.child_pipes import take_pipes
from muster.node.trainer.framing import pack_message, read_message
from muster.node.trainer.liveness import cpu_s_of
from muster.node.trainer.session import Session

PROGRESS_S = 0.2
HEARTBEAT_S = 5.0  # between two signs that Python runs, while a request is being handled
REQUESTS_MAX = 16
OOM_SCORE = "500"  # of -1000 to 1000

_PR_SET_PDEATHSIG = 1


class Cancelled(Exception):
    """The daemon cancelled the current request."""


class Throttle:
    """Sleeps so that work takes `factor` times as long, and reports progress every `PROGRESS_S`."""

    def __init__(
        self, factor: float, report: Callable[[dict[str, Any]], None], cancelled: threading.Event
    ) -> None:
        self._factor, self._report, self._cancelled = factor, report, cancelled
        self._last_s = self._reported_s = time.perf_counter()
        self._debt_s = 0.0

    def __call__(self, message: dict[str, Any]) -> None:
        """Call after each piece of work. Raises Cancelled."""
        now_s = time.perf_counter()
        self._debt_s += (now_s - self._last_s) * (self._factor - 1.0)
        if now_s - self._reported_s >= PROGRESS_S:
            self._report(message)
            self._reported_s = now_s
        if self._debt_s > 0.005:  # shorter sleeps are not kept exactly
            before_s = time.perf_counter()
            self._cancelled.wait(self._debt_s)
            self._debt_s -= time.perf_counter() - before_s
        if self._cancelled.is_set():
            raise Cancelled
        self._last_s = time.perf_counter()


def fault_of(error: BaseException) -> dict[str, Any]:
    """An exception as the map {error, code, sentence}; a task's own fault names file and line."""
    if isinstance(error, Cancelled):
        return {"error": "cancelled", "code": "interrupted", "sentence": "the training was cancelled"}
    if isinstance(error, MusterError):
        return {"error": "muster", "code": error.code, "sentence": error.sentence}
    if isinstance(error, TensorError):
        return {"error": "muster", "code": "bad_data", "sentence": str(error)}
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return {"error": "muster", "code": "disk_full", "sentence": "the disk is full: free some space"}
    if isinstance(error, TaskFault):
        return {"error": "muster", "code": "task_fault", "sentence": str(error)}
    where = _users_line(error)
    text = " ".join(str(error).split())[:300]
    return {
        "error": "muster",
        "code": "task_fault",
        "sentence": f"the task failed{where}: {type(error).__name__}: {text}",
    }


def _users_line(error: BaseException) -> str:
    """ " in FILE, line N": the innermost frame outside of muster, torch and the standard library."""
    if isinstance(error, SyntaxError):
        return f" in {error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(muster.__file__).parent)
    inside = tuple(os.path.join(ours, room) for room in ("node", "learning", "algorithms", "compression"))
    for frame in reversed(frames):
        foreign = "site-packages" in frame.filename or frame.filename.startswith((sys.base_prefix, "<"))
        if not foreign and not frame.filename.startswith(inside):
            return f" in {frame.filename}, line {frame.lineno}"
    return f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until their stream ends: a thread reads them, this one does the work."""
    cancelled = threading.Event()
    waiting: queue.Queue[dict[str, Any]] = queue.Queue(REQUESTS_MAX)
    current = {"id": 0}
    writing = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with writing:
            replies.write(pack_message(message))
            replies.flush()

    def listen() -> None:
        while True:
            try:
                message = read_message(requests)
            except (ValueError, msgspec.MsgspecError):
                message = None
            if message is None or message.get("do") == "close":
                os._exit(0)
            if message.get("do") == "cancel":
                if message.get("of") == current["id"]:
                    cancelled.set()
            else:
                waiting.put(message)

    def heartbeats() -> None:
        while True:
            time.sleep(HEARTBEAT_S)
            if (number := current["id"]) > 0:
                send({"id": number, "cpu_s": _cpu_s()})

    threading.Thread(target=listen, daemon=True).start()
    threading.Thread(target=heartbeats, daemon=True).start()
    session = Session()
    send({"ready": os.getpid()})
    while True:
        request = waiting.get()
        current["id"] = number = int(request["id"])
        cancelled.clear()

        def report(progress: dict[str, Any], number: int = number) -> None:
            send({"id": number, "progress": progress})

        try:
            result = session.do(request, Throttle(session.factor(request), report, cancelled))
            send({"id": number, "result": result})
        except BaseException as error:
            if not isinstance(error, (Cancelled, MusterError)):
                traceback.print_exc()
            send({"id": number, **fault_of(error)})
            if isinstance(error, (KeyboardInterrupt, MemoryError)):
                os._exit(1)
        finally:
            current["id"] = 0


def _cpu_s() -> float:
    """The CPU time of this process and of its workers, such as a DataLoader's."""
    workers: list[int] = []
    if (multiprocessing := sys.modules.get("multiprocessing")) is not None:
        with contextlib.suppress(RuntimeError):  # one begins or ends just now
            workers = [w.pid for w in multiprocessing.active_children() if w.pid is not None]
    return time.process_time() + (cpu_s_of(workers) or 0.0)


def main() -> None:
    """Bind the process to its parent, keep stdout for replies, and serve."""
    parent = int(os.environ.get("MUSTER_TRAINER_PARENT", "0"))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent and os.getppid() != parent:  # it died before the line above
        os._exit(0)
    with contextlib.suppress(OSError):  # without memory the kernel takes this process, not the daemon
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the daemon, which closes us
    with contextlib.suppress(BrokenPipeError):
        serve(*take_pipes())
    os._exit(0)


if __name__ == "__main__":
    main()
