"""A `muster` whose daemon watches its own event loop: the other side of bench/fleet/loop_lag.py.

A probe asks to be woken every 10 ms and notes how late it was; a thread looks, whenever the probe is late,
at what the loop is doing.  Both are written to $MUSTER_LOOP_LAG when the daemon ends, with its memory.
`--control FILE` is a process that does nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import muster.cli.main
from muster.node.daemon import Beside, Daemon
from muster.node.short_slices import ask_for_short_slices
from muster.node.worker.process import ModelWorker

PROBE_S, STUCK_S, LOOK_S = 0.010, 0.040, 0.010
FRAMES = 6  # innermost, of a loop that is stuck


class Probe:
    """Lags in milliseconds, where the loop was stuck, and the daemon's memory."""

    def __init__(self) -> None:
        self.lags_ms: list[float] = []
        self.when_s: list[float] = []
        self.stuck: Counter[str] = Counter()
        self.memory: list[tuple[float, float, float, float]] = []  # time, own, resident, the worker's own
        self._seen_s = time.monotonic()
        self._loop_thread = threading.get_ident()
        threading.Thread(target=self._watch, daemon=True).start()

    async def run(self) -> None:
        count = 0
        while True:
            began_s = time.monotonic()
            await asyncio.sleep(PROBE_S)
            self._seen_s = now_s = time.monotonic()
            self.lags_ms.append(1000 * (now_s - began_s - PROBE_S))
            self.when_s.append(now_s)
            count += 1
            if count % 5 == 0:
                self.memory.append((now_s, *memory_mb("self"), worker_mb()))

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_S)
            if time.monotonic() - self._seen_s < PROBE_S + STUCK_S:
                continue
            frame = sys._current_frames().get(self._loop_thread)
            names = []
            while frame is not None and len(names) < FRAMES:
                if not frame.f_code.co_filename.startswith("<frozen"):
                    where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                    names.append(f"{where} {frame.f_code.co_name}")
                frame = frame.f_back
            self.stuck[" < ".join(names)] += 1

    def write(self, path: Path) -> None:
        lags = [[round(s, 3), round(ms, 1)] for s, ms in zip(self.when_s, self.lags_ms, strict=True)]
        path.write_text(
            json.dumps(
                {
                    "lags": lags,
                    "memory": [[round(value, 3) for value in row] for row in self.memory],
                    "stuck": self.stuck.most_common(25),
                }
            )
        )


def memory_mb(process: int | str) -> tuple[float, float]:
    """Resident memory without the pages of mapped files, which the kernel may drop, and with them."""
    _, resident, shared, *_ = Path(f"/proc/{process}/statm").read_text("ascii").split()
    page_mb = os.sysconf("SC_PAGE_SIZE") / 2**20
    return (int(resident) - int(shared)) * page_mb, int(resident) * page_mb


def worker_mb() -> float:
    """Of the process that works on models, without mapped files; 0 while there is none."""
    if not WORKERS:
        return 0.0
    pid = WORKERS[-1].pid
    try:
        return memory_mb(pid)[0] if pid is not None else 0.0
    except OSError:
        return 0.0


WORKERS: list[ModelWorker] = []


def remember_workers() -> None:
    begin = ModelWorker.__init__

    def remembering(self: ModelWorker, *arguments: Any) -> None:
        begin(self, *arguments)
        WORKERS.append(self)

    ModelWorker.__init__ = remembering  # type: ignore[method-assign]


async def control(to: Path) -> None:
    """A loop that does nothing but probe: how late the machine itself wakes one."""
    ask_for_short_slices()
    probe, over = Probe(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    task = asyncio.create_task(probe.run())
    await over.wait()
    task.cancel()
    probe.write(to)


def watch(to: Path) -> None:
    run = Daemon.run

    async def watched(self: Daemon, beside: Beside | None = None) -> None:
        probe = Probe()
        task = asyncio.create_task(probe.run())
        try:
            await run(self, beside)
        finally:
            task.cancel()
            probe.write(to)

    Daemon.run = watched  # type: ignore[method-assign]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--control"]:
        asyncio.run(control(Path(sys.argv[2])))
        raise SystemExit
    remember_workers()
    if os.environ.get("MUSTER_LOOP_LAG"):
        watch(Path(os.environ["MUSTER_LOOP_LAG"]))
    raise SystemExit(muster.cli.main.main())
