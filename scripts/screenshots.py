"""Takes the pictures of the page for docs/: a real job on the emulated field-8, torn apart and merged.

    python scripts/screenshots.py           about three minutes; writes docs/images/page-*.png

Needs what `make demo` needs, and Chromium.  Look at every picture before you commit it.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
WAIT_S = 270
MERGED = """() => {
  const rows = Object.values(window.muster?.store.tables.commits ?? {});
  return rows.length && rows.some(row => row.merge) ? Math.max(...rows.map(row => row.round)) : 0;
}"""
CUT = "() => Object.values(window.muster.store.tables.links).filter(row => !row.up).map(row => row.id)"


def start(port: int, log: Path) -> subprocess.Popen[bytes]:
    """A demo whose story cuts a link, kills the coordinator and heals all; it stays when the job is over."""
    story = ["--story", "partition", "--plain", "--no-compare", "--stay"]
    command = [sys.executable, "-m", "muster.cli.main", "demo", *story, "--page", f"127.0.0.1:{port}"]
    return subprocess.Popen(command, stdout=log.open("wb"), stderr=subprocess.STDOUT)


def address(demo: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(600):
        found = re.search(r"page: (http://\S+)", log.read_text())
        if found is not None:
            return found[1]
        if demo.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"the demo gave no address of a page; see {log}")


def opened(browser: Browser, url: str, **context: Any) -> Page:
    page = browser.new_context(**context).new_page()
    page.goto(url)
    page.wait_for_timeout(2500)
    return page


def settle(page: Page) -> None:
    """Move the pointer aside, one more moment for fonts and figures."""
    page.mouse.move(2, 2)
    page.wait_for_timeout(700)


def take(browser: Browser, url: str, to: Path) -> None:
    dark = opened(browser, url, viewport=DESKTOP, color_scheme="dark")
    begun = time.monotonic()
    cut_seen = False
    while time.monotonic() - begun < WAIT_S:
        cut = dark.evaluate(CUT)
        if cut and not cut_seen and time.monotonic() - begun > 30:
            cut_seen = True
            dark.wait_for_timeout(9000)
            dark.evaluate("id => window.muster.map.pick([], id)", cut[0])
            settle(dark)
            dark.screenshot(path=to / "page-cut.png")
            dark.evaluate("window.muster.map.pick([])")
        if dark.evaluate(MERGED) >= 10:
            break
        dark.wait_for_timeout(500)
    else:
        raise SystemExit("no merge was seen: nothing is taken")
    dark.wait_for_timeout(6000)
    settle(dark)
    dark.screenshot(path=to / "page-dark.png")
    light = opened(browser, url, viewport=DESKTOP, color_scheme="light")
    light.evaluate("window.muster.map.pick([Object.keys(window.muster.store.tables.nodes)[1]])")
    settle(light)
    light.screenshot(path=to / "page-light.png")
    handheld = {"device_scale_factor": 1, "is_mobile": True, "has_touch": True}
    phone = opened(browser, url, viewport=PHONE, color_scheme="dark", **handheld)
    settle(phone)
    phone.screenshot(path=to / "page-phone.png", full_page=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    parser.add_argument("--port", type=int, default=7477)
    parser.add_argument("--log", type=Path, default=Path("screenshots.log"))
    options = parser.parse_args()
    demo = start(options.port, options.log)
    try:
        url = address(demo, options.log)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            take(browser, url, options.to)
            browser.close()
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(30)


if __name__ == "__main__":
    main()
