"""A real emulated job with its page, and a browser, for the tests that click (marked e2e)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from page_hook import build_page

from patience import patient_s

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "bench/page"))  # the made-up fleet
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_S = 60.0

# Two islands of three and one bridge between them: one click divides the network.
SCENARIO = """
text = "Two islands of three."
nodes = [{ name = "alpha" }, { name = "bravo" }, { name = "charlie" },
         { name = "delta" }, { name = "echo" }, { name = "foxtrot" }]

[[groups]]
name = "west"
nodes = ["alpha", "bravo", "charlie"]
link = { rate_kbit_s = 20000, delay_ms = 2 }

[[groups]]
name = "east"
nodes = ["delta", "echo", "foxtrot"]
link = { rate_kbit_s = 20000, delay_ms = 2 }

[[links]]
a = "charlie"
b = "delta"
rate_kbit_s = 20000
delay_ms = 5
"""


@dataclass
class LivePage:
    """`muster demo --stay` on the scenario above."""

    url: str
    rundir: Path
    bridge: tuple[str, str] = ("charlie", "delta")
    west: tuple[str, ...] = ("alpha", "bravo", "charlie")
    east: tuple[str, ...] = ("delta", "echo", "foxtrot")
    process: Any = field(default=None, repr=False)

    @property
    def control(self) -> Path:
        return self.rundir / "control.sock"

    def state(self) -> dict[str, Any]:
        """What the page's server says now."""
        with urllib.request.urlopen(f"{self.url}api/state", timeout=patient_s(10)) as answer:
            state: dict[str, Any] = json.load(answer)
        return state

    def job(self) -> dict[str, Any]:
        state = self.state()
        found: dict[str, Any] = state["jobs"].get(state["header"]["job"], {"round": 0, "state": "none"})
        return found

    def emulator(self, **request: Any) -> dict[str, Any]:
        """What the emulator itself says: the page is not asked."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patient_s(20))
            connection.connect(str(self.control))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile().readline())
        assert "error" not in answer, answer
        ok: dict[str, Any] = answer["ok"]
        return ok

    def link(self, a: str, b: str) -> dict[str, Any]:
        """The emulator's parameters of the direction a to b."""
        found = [way for way in self.emulator(op="links")["links"] if (way["a"], way["b"]) == (a, b)]
        params: dict[str, Any] = found[0]["params"]
        return params

    def until(self, holds: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Look four times a second until `holds`."""
        end_s = time.monotonic() + timeout_s
        while not holds():
            assert self.process.poll() is None, f"the demo ended: {self.log()}"
            assert time.monotonic() < end_s, f"waited {timeout_s:g} s until {what}"
            time.sleep(0.25)

    def log(self) -> str:
        return (self.rundir.parent / "demo.log").read_text("utf-8", "replace")[-3000:]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def built_page() -> None:
    build_page()


@pytest.fixture(scope="module")
def live_page() -> Iterator[LivePage]:
    """A job that goes on for a thousand rounds, two rounds in."""
    build_page()
    with tempfile.TemporaryDirectory(prefix="muster-page-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        (place / "islands.toml").write_text(SCENARIO)
        page = LivePage(f"http://127.0.0.1:{free_port()}/", place / "run")
        argv = [sys.executable, "-m", "muster.cli.main", "demo", "--scenario", str(place / "islands.toml")]
        argv += ["--plain", "--no-compare", "--stay", "--rounds", "1000", "--patience", "4"]
        argv += ["--page", page.url.removeprefix("http://").rstrip("/"), "--keep", str(page.rundir)]
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "XDG_DATA_HOME": str(place / "data")}
        with (place / "demo.log").open("wb") as log:
            page.process = subprocess.Popen(
                argv, stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True
            )
        try:
            page.until(lambda: _answers(page), "the page answers", START_S)
            page.until(lambda: page.job()["round"] >= 2, "two rounds are done", START_S)
            yield page
        finally:
            page.process.send_signal(signal.SIGINT)
            try:
                page.process.wait(patient_s(30))
            finally:
                page.process.kill()
                page.process.wait()


def _answers(page: LivePage) -> bool:
    try:
        return bool(page.state())
    except OSError:
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium. Of a module's life, because Playwright keeps an event loop running in this thread."""
    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium on this machine: apt-get install chromium (as .ci/run does)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield started
        started.close()
