"""The daemon's side of the worker: one process, one call at a time, ended when nothing is left to do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from muster.node.worker.child import read_message, write_message
from muster.storage.offload import Offload, start_threads

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LARGE_MODEL_BYTES = 4_000_000  # a smaller one is done with before a process would have begun
IDLE_S = 60.0  # so long without a call, and the process ends: its memory goes back
CLOSE_TIMEOUT_S = 3.0
HUGE_PAGES = "glibc.malloc.hugetlb=1"  # for what is large: a message is made four times as fast (glibc 2.35)


class WorkerDied(RuntimeError):
    """The worker ended in the midst of a call, twice."""


class ModelWorker:
    """Implements `storage.offload.Offload` with a process that is started at the first call.

    The call is a function of a module or a `partial` of one; it and its arguments are pickled.  A worker that
    ended is started again, and the call is made once more.
    """

    def __init__(self, threads: Offload, idle_s: float = IDLE_S) -> None:
        """`threads` do the work on small models; the process ends after `idle_s` without a call."""
        self._threads, self._idle_s = threads, idle_s
        self._process: subprocess.Popen[bytes] | None = None
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="worker")
        start_threads(self._asking, 1)
        self._closed = threading.Event()

    def for_model(self, size_bytes: int) -> Offload:
        """What work on a model of so many bytes goes to."""
        return self if size_bytes >= LARGE_MODEL_BYTES else self._threads

    def __call__(self, call: Callable[[*Ts], T], *arguments: *Ts) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._asking, self._call, call, arguments)

    def close(self) -> None:
        """End the process; a call that is being made fails."""
        self._closed.set()
        process = self._process
        if process is not None:
            process.terminate()
        self._asking.shutdown(cancel_futures=True)
        self._end()

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        process = self._process
        return process.pid if process is not None else None

    def _call(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        request = pickle.dumps((call, arguments), protocol=5)
        for _ in range(2):
            if self._closed.is_set():
                break
            answer = self._ask(request)
            if answer is not None:
                right, value = pickle.loads(answer)
                if right:
                    return value
                raise value
        raise WorkerDied("the process that works on models ended: is there too little memory?")

    def _ask(self, request: bytes) -> bytes | None:
        """The answer of the worker; None when it has ended, as it does when it had nothing to do."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        answer = None
        with contextlib.suppress(OSError):
            write_message(process.stdin, request)
            answer = read_message(process.stdout)
        if answer is None:
            self._end()
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        """The process, started when there is none. Raises OSError."""
        if self._process is None:
            argv = (sys.executable, "-m", "muster.node.worker.child", str(self._idle_s))
            pipe = subprocess.PIPE
            env = {**os.environ, "GLIBC_TUNABLES": HUGE_PAGES}
            self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=env)
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for file in (process.stdin, process.stdout):
            assert file is not None
            with contextlib.suppress(OSError):
                file.close()
        try:
            process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
