"""Says whether a process hangs: it does if it neither gets on nor computes, however long a step may be."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

STALL_S = 600.0  # without progress and without computing
QUIET_S = 60.0  # of that time, and people hear of it
WORK_S = 0.2  # of CPU time: what a process that waits in vain does not use in all that time


class Liveness:
    """What one request of a process shows of it, by the caller's clock."""

    def __init__(self, now_s: float, stall_s: float = STALL_S) -> None:
        self._stall_s = stall_s
        self._moved_s = now_s
        self._cpu_s: float | None = None  # that was used up to then
        self._warned_s: float | None = None  # people heard that nothing moves since then

    def progress(self, now_s: float) -> None:
        """A message about the work came."""
        self._moved_s = now_s

    def cpu(self, now_s: float, cpu_s: float | None) -> None:
        """The CPU time that it has used so far; None: nobody knows."""
        if cpu_s is None:
            return
        if self._cpu_s is None or cpu_s < self._cpu_s:  # the first look, or a worker of it has ended
            self._cpu_s = cpu_s
        elif cpu_s - self._cpu_s >= WORK_S:
            self._cpu_s, self._moved_s = cpu_s, now_s

    def warning_s(self, now_s: float) -> float | None:
        """Seconds until it hangs, once when nothing has moved for `QUIET_S`."""
        if now_s - self._moved_s < min(QUIET_S, self._stall_s / 2) or self._warned_s == self._moved_s:
            return None
        self._warned_s = self._moved_s
        return self._moved_s + self._stall_s - now_s

    def hangs(self, now_s: float) -> bool:
        return now_s - self._moved_s >= self._stall_s


def cpu_s_of(pids: Iterable[int]) -> float | None:
    """The CPU time of processes, as far as the system tells it."""
    found = [seconds for pid in pids if (seconds := _of(pid)) is not None]
    return sum(found) if found else None


def _of(pid: int) -> float | None:
    if sys.platform != "linux":
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])  # utime and stime: proc(5)
    except (OSError, ValueError, IndexError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")
