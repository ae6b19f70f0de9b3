"""Trainers that a fork server makes are as good as those that are started, and much sooner there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.errors import MusterError
from muster.node.trainer.child_process import ChildProcess, TrainerDied
from muster.node.trainer.forks import FORKS, ForkedProcess
from patience import patient_s

OPEN = {"do": "open", "options": {}, "threads": 1, "niceness": 0, "throttle": 1.0}
pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    monkeypatch.setenv(FORKS, str(tmp_path / "forks"))
    command = [sys.executable, "-m", "muster.node.trainer.fork_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


async def test_a_forked_trainer_answers_ends_and_dies_like_any(server: subprocess.Popen[bytes]) -> None:
    began_s = time.monotonic()
    one, other = await ChildProcess.spawn(), await ChildProcess.spawn()
    await asyncio.gather(one.ready(), other.ready())
    assert time.monotonic() - began_s < patient_s(30.0)
    assert one.pid != other.pid
    shared = Path(f"/proc/{one.pid}/maps").read_text()
    assert "libtorch" in shared  # without a second import
    facts = await one.request(OPEN | {"reference": "digits"})
    assert facts["samples"] > 0
    with pytest.raises(MusterError, match="no-such-task"):
        await other.request(OPEN | {"reference": "no-such-task"})
    await one.end(patient_s(5.0))
    assert one._process.returncode == 0
    os.kill(other.pid, signal.SIGKILL)
    with pytest.raises(TrainerDied, match="status -9"):
        await other.request({"do": "open"})


async def test_trainers_end_with_their_server(server: subprocess.Popen[bytes]) -> None:
    one = await ChildProcess.spawn()
    await one.ready()
    server.kill()
    async with asyncio.timeout(patient_s(30)):
        await one._process.wait()
    assert one._process.returncode == -9
    await one.end(1.0)


def test_without_a_server_there_is_no_trainer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        ForkedProcess(str(tmp_path / "none"), {})
