"""Whole demos with real processes, and that nothing of them is left behind, however they end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from muster.cli.demo.report import Report
from muster.errors import EXIT_CODES
from patience import patient_s

pytestmark = pytest.mark.e2e
WAIT_S = patient_s(110.0)  # on a machine that is busy otherwise


class Demo:
    """A demo on three nodes, with its lines and all processes that it ever had."""

    def __init__(self, tmp_path: Path, *words: str) -> None:
        self.rundir = tmp_path / "run"
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "XDG_DATA_HOME": str(tmp_path / "d")}
        argv = [sys.executable, "-m", "muster.cli.main", "demo", "--scenario", "lan-3", "--plain"]
        self.process = subprocess.Popen(
            [*argv, "--keep", str(self.rundir), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            start_new_session=True,
        )
        self.lines: list[str] = []

    def until(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError("".join(self.lines))

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self) -> int:
        watchdog = threading.Timer(WAIT_S, self.process.kill)
        watchdog.start()
        rest, _ = self.process.communicate()
        watchdog.cancel()
        self.lines.append(rest)
        return self.process.returncode


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.communicate()


def namespaces(processes: list[psutil.Process]) -> set[int]:
    return {os.stat(f"/proc/{p.pid}/ns/net").st_ino for p in processes if p.is_running()}


def assert_nothing_left(family: list[psutil.Process], spaces: set[int], seen_s: float, rundir: Path) -> None:
    """`spaces` are the network namespaces of `family` as seen at `seen_s`. The kernel gives the number of one
    that is gone to the next, so processes that began later, those of other tests, are none of its."""
    _, alive = psutil.wait_procs(family, timeout=patient_s(10.0))
    assert alive == []
    inhabited = set()
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if process.create_time() <= seen_s:
                inhabited.add(os.stat(f"/proc/{process.pid}/ns/net").st_ino)
    assert not spaces & inhabited
    assert list(rundir.rglob("*.sock")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_that_was_started(tmp_path: Path, demos: list[Demo], number: int) -> None:
    demo = Demo(tmp_path, "--rounds", "9999")
    demos.append(demo)
    demo.until("nodes are up")
    family = demo.family()
    spaces, seen_s = namespaces(family) - {os.stat("/proc/self/ns/net").st_ino}, time.time()
    assert len(family) >= 4
    demo.process.send_signal(number)
    assert demo.end() == EXIT_CODES["interrupted"]
    assert "Traceback" not in "".join(demo.lines)
    assert_nothing_left(family, spaces, seen_s, demo.rundir)


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--rounds", "9999")
    demos.append(demo)
    demo.until("nodes are up")
    family = demo.family()
    spaces, seen_s = namespaces(family) - {os.stat("/proc/self/ns/net").st_ino}, time.time()
    for process in family:
        if "--config" in process.cmdline():
            process.suspend()  # nodes that do not end by themselves
    demo.process.send_signal(signal.SIGINT)
    demo.until("again: at once")
    demo.process.send_signal(signal.SIGINT)
    assert demo.end() == EXIT_CODES["interrupted"]
    _, alive = psutil.wait_procs(family, timeout=patient_s(10.0))
    assert alive == []
    assert_nothing_left([], spaces, seen_s, tmp_path / "no")


def test_a_demo_ends_with_a_model_and_a_report(tmp_path: Path, demos: list[Demo]) -> None:
    path = tmp_path / "report.json"
    demo = Demo(tmp_path, "--rounds", "2", "--steps", "10", "--split", "iid", "--report", str(path))
    demos.append(demo)
    assert demo.end() == 0, "".join(demo.lines)
    out = "".join(demo.lines)
    raw = json.loads(path.read_text())
    assert set(raw) == set(Report.__struct_fields__)
    assert raw["state"] == "finished"
    assert raw["rounds"] == 2
    assert raw["accuracy"] is not None
    assert raw["accuracy_pooled"] is not None
    assert 0 <= raw["accuracy_best_single"] <= 1
    assert sorted(raw["nodes"]) == ["alpha", "bravo", "charlie"]
    assert sum(node["samples"] for node in raw["nodes"].values()) == 1438
    assert sum(node["updates_counted"] for node in raw["nodes"].values()) >= 2
    assert raw["values"]["rounds"] == raw["values"]["valued"] == 2
    assert raw["values"]["common"]
    assert raw["nodes"]["alpha"]["value"] is not None
    assert len(raw["bytes_by_link"]) == 6
    assert raw["bytes_by_link"]["alpha->bravo"] > 1000
    assert [Path(p).suffix for p in raw["model_paths"]] == [".safetensors", ".onnx"]
    from safetensors.numpy import load_file

    assert all(np.isfinite(tensor).all() for tensor in load_file(raw["model_path"]).values())
    assert "accuracy of the model that all made together" in out
    assert "updates counted" in out
    assert raw["values"]["examples"] == 359
    assert "values: of 2 of 2 rounds, on 359 samples that every node has" in out
    assert list(demo.rundir.rglob("*.sock")) == []
