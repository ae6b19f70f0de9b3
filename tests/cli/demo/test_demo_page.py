"""A demo that stays until Ctrl-C, and when a browser is opened."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import webbrowser
from pathlib import Path

import pytest

from muster.cli import browser
from muster.cli.demo.views.page import WatchedNode, demo_page, until_ctrl_c
from muster.cli.interrupt import run_until_interrupted
from muster.errors import MusterError
from muster.http.address import Address


def interrupt_soon() -> None:
    asyncio.get_running_loop().call_later(0.02, os.kill, os.getpid(), signal.SIGINT)


def test_ctrl_c_is_the_proper_end_of_a_demo_that_stays() -> None:
    async def main() -> str:
        interrupt_soon()
        await until_ctrl_c()
        await asyncio.sleep(0)  # what comes after it is not cancelled
        return "the report"

    assert run_until_interrupted(main) == "the report"


def test_ctrl_c_before_that_is_an_interruption() -> None:
    async def main() -> None:
        interrupt_soon()
        await asyncio.sleep(10)

    with pytest.raises(MusterError) as caught:
        run_until_interrupted(main)
    assert caught.value.code == "interrupted"


@pytest.mark.parametrize(("display", "terminal"), [("", True), (":0", False), ("", False)])
def test_no_browser_where_nobody_would_see_it(
    display: str, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not browser.show("http://127.0.0.1/")
    assert opened == []


def test_a_browser_is_opened_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(browser, "has_display", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert browser.show("http://127.0.0.1/")
    assert opened == ["http://127.0.0.1/"]


def test_a_demo_without_a_page_opens_no_port(tmp_path: Path) -> None:
    async def main() -> None:
        watched = WatchedNode(tmp_path / "alpha")
        async with demo_page(watched, None, tmp_path, "t", browser=True) as shown:
            assert (shown.lines, shown.in_browser, watched.address) == ((), False, "")
        async with demo_page(watched, Address("127.0.0.1", 0), tmp_path, "t", browser=False) as shown:
            assert shown.lines == (f"page: {watched.address}",)
            assert watched.address.startswith("http://127.0.0.1:")

    asyncio.run(main())
