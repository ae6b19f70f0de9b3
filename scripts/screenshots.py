"""Takes the pictures of the page for docs/: real jobs on the emulated field-8.

    python scripts/screenshots.py           torn apart and merged: about three minutes; page-*.png
    python scripts/screenshots.py --field   models that adapt: about four minutes; page-field.png

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
FIELD_WAIT_S = 600
MERGED = """() => {
  const rows = Object.values(window.muster?.store.tables.commits ?? {});
  return rows.length && rows.some(row => row.merge) ? Math.max(...rows.map(row => row.round)) : 0;
}"""
ADAPTED = """() => {
  const marks = Object.values(window.muster?.store.tables.marks ?? {});
  return Math.max(0, ...marks.filter(row => row.kind === "use").map(row => row.nodes.length));
}"""
CAMERAS = 4  # that use the model of their job
CUT = "() => Object.values(window.muster.store.tables.links).filter(row => !row.up).map(row => row.id)"


def start(story: str, port: int, log: Path) -> subprocess.Popen[bytes]:
    """A demo; it stays when its story is over."""
    how = ["--story", story, "--plain", "--no-compare", "--stay"]
    command = [sys.executable, "-m", "muster.cli.main", "demo", *how, "--page", f"127.0.0.1:{port}"]
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


def take_field(browser: Browser, url: str, to: Path) -> None:
    """Four cameras use what they learned together; the marks stand on the curves."""
    dark = opened(browser, url, viewport=DESKTOP, color_scheme="dark")
    begun = time.monotonic()
    while dark.evaluate(ADAPTED) < CAMERAS:
        if time.monotonic() - begun > FIELD_WAIT_S:
            raise SystemExit("no model went into use on all cameras: nothing is taken")
        dark.wait_for_timeout(500)
    settle(dark)
    dark.screenshot(path=to / "page-field.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    parser.add_argument("--port", type=int, default=7477)
    parser.add_argument("--log", type=Path, default=Path("screenshots.log"))
    parser.add_argument("--field", action="store_true", help="models that adapt, instead of the torn network")
    options = parser.parse_args()
    demo = start("adapt" if options.field else "partition", options.port, options.log)
    try:
        url = address(demo, options.log)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            (take_field if options.field else take)(browser, url, options.to)
            browser.close()
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(30)


if __name__ == "__main__":
    main()
