"""Real daemons on this machine, each with a configuration and a home in one folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from muster.node.api.client import Client, answers
from patience import patient_s


class Daemons:
    """`FOLDER/NAME.toml` says how a daemon runs, with its home in `FOLDER/NAME`."""

    up_s, end_s = 60.0, 30.0  # within which one answers, and ends

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> Client:
        """Start it, or start it again; it answers when this returns."""
        with (self.folder / name / "output.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "muster.cli.main",
                    "node",
                    "--config",
                    str(self.folder / f"{name}.toml"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={k: v for k, v in os.environ.items() if k != "MUSTER_HOME"},
            )
        home, end_s = self.folder / name, time.monotonic() + patient_s(self.up_s)
        while not answers(home):
            assert time.monotonic() < end_s, f"{name} does not answer: {self.said(name)}"
            time.sleep(0.1)  # another process is waited for: there is nothing to be told by
        return self.client(name)

    def client(self, name: str) -> Client:
        return Client(self.folder / name, timeout_s=120.0)

    def said(self, name: str) -> str:
        return (self.folder / name / "output.log").read_text("utf-8", "replace")

    def stop(self, name: str) -> None:
        self.processes[name].terminate()
        self.processes[name].wait(patient_s(self.end_s))

    def end(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(patient_s(self.end_s))
