"""A real daemon tells systemd when it answers, that it lives, and that it ends; its log as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from muster.node.log.journal import SOCKET
from muster.node.log.lines import LEVELS
from patience import patient_s

UP_S = patient_s(40.0)


def wait_for(systemd: socket.socket, word: str) -> list[str]:
    """What the daemon says, until it says `word`."""
    systemd.settimeout(UP_S)
    said: list[str] = []
    while word not in said:
        said.append(systemd.recv(4096).decode())
    return said


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.e2e
def test_systemd_hears_of_a_daemon_from_its_start_to_its_end(tmp_path: Path) -> None:
    port, page = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    env = {
        **os.environ,
        "XDG_DATA_HOME": str(tmp_path / "d"),
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "900000",
    }
    words = [sys.executable, "-m", "muster.cli.main", "node", "--name", "alpha", "--no-discovery"]
    words += ["--listen", f"127.0.0.1:{port}", "--log", "json", "--page", f"127.0.0.1:{page}"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(env["NOTIFY_SOCKET"])
        daemon = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)
        try:
            said = wait_for(systemd, "READY=1")
            assert said == ["READY=1"]
            home = tmp_path / "d" / "muster" / "alpha"
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
                control.connect(str(home / "control.sock"))  # it answers
            assert "STATUS=idle, 0 neighbours in reach" in [
                *wait_for(systemd, "WATCHDOG=1"),
                systemd.recv(4096).decode(),
            ]
            wait_for(systemd, "WATCHDOG=1")

            daemon.send_signal(signal.SIGSTOP)  # it hangs: no answer, and systemd would start it again
            os.waitid(os.P_PID, daemon.pid, os.WSTOPPED)
            systemd.setblocking(False)
            with contextlib.suppress(BlockingIOError):  # what it said before
                while True:
                    systemd.recv(4096)
            systemd.settimeout(1.2)
            with pytest.raises(TimeoutError):
                systemd.recv(4096)
            daemon.send_signal(signal.SIGCONT)
            wait_for(systemd, "WATCHDOG=1")

            daemon.terminate()
            wait_for(systemd, "STOPPING=1")
            out, _ = daemon.communicate(timeout=UP_S)
        finally:
            daemon.kill()
            daemon.wait()
    assert daemon.returncode == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["node"] for line in lines} == {"alpha"}
    assert {line["level"] for line in lines} <= set(LEVELS)
    assert f"alpha listens on 127.0.0.1:{port}" in [line["text"] for line in lines]
    assert any(line["part"] == "page" and f"127.0.0.1:{page}" in line["text"] for line in lines)


@pytest.mark.e2e
@pytest.mark.skipif(SOCKET.exists(), reason="this machine's own journal would get the lines")
def test_under_a_journal_each_line_has_its_level(tmp_path: Path) -> None:
    """As systemd starts it: standard output and error lead to the journal, which $JOURNAL_STREAM says."""
    with (tmp_path / "out").open("w") as out:
        status = os.fstat(out.fileno())
        env = {
            **os.environ,
            "XDG_DATA_HOME": str(tmp_path / "d"),
            "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}",
        }
        words = [sys.executable, "-m", "muster.cli.main", "node", "--name", "alpha", "--no-discovery"]
        words += ["--listen", f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"]
        daemon = subprocess.Popen(words, env=env, stdout=out, stderr=out)
        try:
            until_s = time.monotonic() + UP_S
            while "listens on" not in (tmp_path / "out").read_text():
                assert time.monotonic() < until_s
                assert daemon.poll() is None
                time.sleep(0.1)
            second = subprocess.run(words, env=env, stdout=out, stderr=out, check=False, timeout=UP_S)
        finally:
            daemon.terminate()
            daemon.wait(UP_S)
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines[0].startswith("<6>alpha listens on 127.0.0.1:")
    assert second.returncode == 12  # another daemon uses the home
    assert [line for line in lines if line.startswith("<3>muster: ")]
    assert all(line[:3] in ("<3>", "<4>", "<6>") for line in lines)
