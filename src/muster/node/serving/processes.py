"""One task's server as processes: started so that it outlives this one, found, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from muster.serving.paths import folder_of
from muster.serving.report import ServerReport, alive, read_report
from muster.serving.settings import ServeConfig, encode_settings

LOG, LOG_BYTES_MAX = "server.log", 1_000_000
LOOK_S = 0.05
NOT_ITS_OWN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # of the daemon's service


class ServerProcesses:
    """All calls block for a moment: in a thread, one at a time."""

    def __init__(self, home: Path, task: str, config: ServeConfig) -> None:
        self._home, self._task, self._config = home, task, config
        self._folder = folder_of(home, task)
        self._own: subprocess.Popen[bytes] | None = None  # that was started here

    def running(self) -> ServerReport | None:
        """What the server that runs says of itself, whoever started it."""
        if self._own is not None:
            self._own.poll()  # so that one that ended is no zombie
        report = read_report(self._folder)
        return report if alive(report) else None

    def start(self) -> None:
        """In a session of its own, with a log in the served task's folder. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = self._folder / LOG
        with contextlib.suppress(OSError):
            if log.stat().st_size > LOG_BYTES_MAX:
                log.replace(log.with_suffix(".log.1"))
        settings = encode_settings(self._config)
        argv = [sys.executable, "-m", "muster.serving.main", str(self._home), self._task, settings]
        env = {name: value for name, value in os.environ.items() if name not in NOT_ITS_OWN}
        with log.open("ab") as out:
            self._own = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def beginning(self) -> bool:
        """Whether one that was started here runs."""
        return self._own is not None and self._own.poll() is None

    def taken_away(self) -> str | None:
        """Why the one that was started here ended, which is forgotten then; one that runs is killed first."""
        if self._own is None:
            return None
        self._own.kill()
        code, self._own = self._own.wait(), None
        return f"signal {-code}" if code < 0 else self._last_line() or f"status {code}"

    def end(self, report: ServerReport, grace_s: float) -> None:
        """Ask a server to end; after `grace_s` it has no choice."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not alive(report):
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(report.pid, number)
                os.kill(report.pid, signal.SIGCONT)
            until_s = time.monotonic() + grace_s
            while alive(report) and time.monotonic() < until_s:
                time.sleep(LOOK_S)

    def _last_line(self) -> str:
        """What the server said last, for people."""
        with contextlib.suppress(OSError), (self._folder / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
            lines = file.read().decode(errors="replace").strip().splitlines()
            return lines[-1][:300].removeprefix("muster: ") if lines else ""
        return ""
