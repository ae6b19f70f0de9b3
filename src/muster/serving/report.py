"""What a server says of itself: figures in server.json, for the node, its page and `muster field`."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from muster.protocol.envelope import UNREADABLE
from muster.serving.paths import report_of

LATENCIES = 1000  # the last so many requests
REPORT_BYTES_MAX = 64 * 1024


class ServerReport(msgspec.Struct, frozen=True):
    """The content of server.json."""

    task: str
    pid: int  # 0: it ended in order
    start: int  # when the process began, in ticks since the machine did: a pid alone may be another's by now
    muster: str  # version
    settings: str  # hash of the settings that it was started with
    by_hand: bool  # by `muster serve`, and not by the node
    url: str
    port: int
    began_t: float  # Unix seconds
    written_t: float
    version: str  # in use; "" while nothing is
    since_t: float  # the model's
    former: str
    requests: int  # answered with what the model said
    failures: int  # answered with an error of the server or the model
    refused: int  # 503: too many at once
    rejected: int  # 4xx: the client's mistakes
    rps: float  # requests a second, of the last second
    p50_ms: float | None
    p99_ms: float | None
    swaps: int
    alarms: int
    alarm_t: float | None
    alarm_what: str
    noticing: str  # "entropy", "inputs", "entropy and inputs", or "" for not at all
    kept: int  # samples since the start
    keeping: str  # why no samples are kept now, or ""
    judged: int  # labels answered by the model in use and the former one
    memory_mb: float
    fault: str  # why the model that the pointer names is not in use
    watch: dict[str, Any] = {}  # state of the detector


class Figures:
    """Counters of requests."""

    def __init__(self) -> None:
        self.requests = self.failures = self.refused = self.rejected = self.swaps = self.judged = 0
        self.rps = 0.0
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES)
        self._last = (time.monotonic(), 0)

    def answered(self, took_s: float) -> None:
        self.requests += 1
        self._latencies_s.append(took_s)

    def percentiles_ms(self) -> tuple[float | None, float | None]:
        """The median and the 99th of the last thousand."""
        if not self._latencies_s:
            return None, None
        import numpy as np  # the server has it; who only reads reports does not need it

        low, high = np.percentile(np.fromiter(self._latencies_s, float), (50, 99))
        return round(float(low) * 1e3, 3), round(float(high) * 1e3, 3)

    def measure_rate(self) -> None:
        """`rps` from now on: requests a second since the last call."""
        (then_s, before), now_s = self._last, time.monotonic()
        self._last = (now_s, self.requests)
        self.rps = round((self.requests - before) / max(now_s - then_s, 1e-3), 1)


def read_report(folder: Path) -> ServerReport | None:
    """What the server in this folder said last; None: nothing that can be read."""
    try:
        with report_of(folder).open("rb") as file:
            return msgspec.json.decode(file.read(REPORT_BYTES_MAX), type=ServerReport)
    except (OSError, *UNREADABLE):
        return None


def write_report(folder: Path, report: ServerReport) -> None:
    """Replace server.json. A full disk leaves the old one."""
    path = report_of(folder)
    part = path.with_name(".server.part")
    with contextlib.suppress(OSError):
        part.write_bytes(msgspec.json.encode(report))
        os.replace(part, path)


def alive(report: ServerReport | None) -> bool:
    """Whether the process that wrote the report still runs."""
    return report is not None and report.pid > 0 and start_of(report.pid) == report.start


def start_of(pid: int) -> int | None:
    """When a process began, in ticks since the machine did; None: it is gone, or about to be."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def memory_mb() -> float:
    """Resident, of this process."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
    return 0.0
