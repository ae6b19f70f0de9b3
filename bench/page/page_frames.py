"""How smoothly the page draws: intervals between animation frames under a flood of events.

    python bench/page/page_frames.py                     200 nodes, 2000 commits, 20 events a second, 60 s
    python bench/page/page_frames.py --seconds 20 --json frames.json

Starts a made-up fleet (`synthetic.py`) and Debian's Chromium (headless, software rendering) on
this machine, so both share its cores.  Reported: frames a second, percentiles, the share under 50 ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MEASURE = """ms => new Promise(done => {
  const gaps = [], begun = performance.now();
  let last = begun;
  const events = window.muster.store.connection.events;
  const tick = now => {
    gaps.push(now - last);
    last = now;
    if (now - begun < ms) requestAnimationFrame(tick);
    else done({gaps: gaps.slice(2), events: window.muster.store.connection.events - events, ms: now - begun});
  };
  requestAnimationFrame(tick);
})"""


def start(options: argparse.Namespace) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).with_name("synthetic.py")), "--port", str(options.port)]
    for name in ("nodes", "commits", "rate"):
        command += [f"--{name}", str(getattr(options, name))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{options.port}/api/session", timeout=2)
            return process
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    process.terminate()
    raise SystemExit("the made-up fleet does not answer")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(60_000)
        page.goto(f"http://127.0.0.1:{options.port}/")
        while page.evaluate("Object.keys(window.muster?.store.tables.nodes ?? {}).length") < options.nodes:
            page.wait_for_timeout(200)  # (wait_for_function needs eval, which the page's policy forbids)
        page.wait_for_timeout(4000)  # layout and first drawing are over
        found = page.evaluate(MEASURE, options.seconds * 1000)
        browser.close()
    return dict(found)


def summary(found: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    gaps = sorted(found["gaps"])
    at = lambda part: round(gaps[min(len(gaps) - 1, int(part * len(gaps)))], 1)  # noqa: E731
    return {
        "nodes": options.nodes,
        "commits": options.commits,
        "seconds": round(found["ms"] / 1000, 1),
        "events_per_s": round(found["events"] / (found["ms"] / 1000), 1),
        "frames_per_s": round(len(gaps) / (found["ms"] / 1000), 1),
        "median_ms": at(0.5),
        "p95_ms": at(0.95),
        "p99_ms": at(0.99),
        "worst_ms": round(gaps[-1], 1),
        "under_50_ms": round(sum(gap < 50 for gap in gaps) / len(gaps), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--commits", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--port", type=int, default=8144)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    fleet = start(options)
    try:
        result = summary(measure(options), options)
    finally:
        fleet.terminate()
        fleet.wait()
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
