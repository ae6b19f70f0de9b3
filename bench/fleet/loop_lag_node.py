"""A `muster` whose daemon watches its own event loop: the other side of bench/fleet/loop_lag.py.

A probe asks to be woken every 10 ms and notes how late it was; a thread looks, whenever the probe is late,
at what the loop is doing.  Both are written to $MUSTER_LOOP_LAG when the daemon ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import muster.cli.main
from muster.node.daemon import Beside, Daemon

PROBE_S, STUCK_S, LOOK_S = 0.010, 0.040, 0.010
FRAMES = 6  # innermost, of a loop that is stuck


class Probe:
    """Lags in milliseconds, where the loop was stuck, and the daemon's memory."""

    def __init__(self) -> None:
        self.lags_ms: list[float] = []
        self.when_s: list[float] = []
        self.stuck: Counter[str] = Counter()
        self.memory_mb = 0.0
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
                self.memory_mb = max(self.memory_mb, own_memory_mb())

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
        peak_mb = next(
            int(line.split()[1]) / 1024
            for line in Path("/proc/self/status").read_text("ascii").splitlines()
            if line.startswith("VmHWM")
        )
        lags = [[round(s, 3), round(ms, 1)] for s, ms in zip(self.when_s, self.lags_ms, strict=True)]
        path.write_text(
            json.dumps(
                {
                    "lags": lags,
                    "peak_mb": peak_mb,
                    "own_mb": self.memory_mb,
                    "stuck": self.stuck.most_common(25),
                }
            )
        )


def own_memory_mb() -> float:
    """Resident memory without the pages of mapped files, which the kernel may drop."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text("ascii").split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") / 2**20


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
    if os.environ.get("MUSTER_LOOP_LAG"):
        watch(Path(os.environ["MUSTER_LOOP_LAG"]))
    raise SystemExit(muster.cli.main.main())
