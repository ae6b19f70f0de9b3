"""A real emulated job under the page: what is clicked happens to the network, and what happens is shown."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from muster.errors import MusterError
from muster.node.api.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
DESKTOP = {"width": 1280, "height": 860}


@pytest.fixture
def page(browser: Any, live_page: Any) -> Iterator[Any]:
    context = browser.new_context(viewport=DESKTOP)
    opened = context.new_page()
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(live_page.url)
    opened.locator("#stamp.live").wait_for()
    wait(opened, lambda: opened.evaluate("window.muster.cy.edges().length") == 7, "the map is drawn")
    yield opened
    context.close()
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(live_page.url).netloc}, "no request leaves this machine"


def wait(page: Any, holds: Callable[[], Any], what: str, timeout_s: float = 30.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end_s, f"waited {timeout_s:g} s until {what}"
        page.wait_for_timeout(200)


def point(page: Any, script: str, element: str) -> tuple[float, float]:
    """Where on the page something of the map is, once it has stopped moving."""
    seen = None
    while True:
        at = page.evaluate(f"id => window.muster.cy.getElementById(id).{script}", element)
        box = page.locator("#stage").bounding_box()
        found = (box["x"] + at["x"], box["y"] + at["y"])
        if found == seen:
            return found
        seen = found
        page.wait_for_timeout(150)


def bridge_up(live: Any) -> list[bool]:
    """What the emulator says of both directions."""
    a, b = live.bridge
    return [live.link(a, b)["up"], live.link(b, a)["up"]]


def test_a_link_is_cut_and_healed_by_clicking_it(page: Any, live_page: Any) -> None:
    link = "|".join(live_page.bridge)
    page.mouse.click(*point(page, "renderedMidpoint()", f"l:{link}"))
    page.locator(".link-card h3", has_text=" – ".join(live_page.bridge)).wait_for()
    page.locator(".link-card [data-do=cut]").click()
    live_page.until(lambda: bridge_up(live_page) == [False, False], "the emulator has cut it")
    page.locator(".link-card .state", has_text="cut").wait_for()
    wait(
        page, lambda: not page.evaluate("id => window.muster.store.tables.links[id].up", link), "it is shown"
    )
    page.locator("#network-note", has_text="6 of 7 links up").wait_for()
    page.locator("#event-lines li[data-kind=fault]", has_text="cut").first.wait_for()
    page.locator(".link-card [data-do=heal]").click()
    live_page.until(lambda: bridge_up(live_page) == [True, True], "the emulator has healed it")
    page.locator("#network-note", has_text="7 of 7 links up").wait_for()


def test_a_slider_reaches_the_emulator(page: Any, live_page: Any) -> None:
    page.mouse.click(*point(page, "renderedMidpoint()", f"l:{'|'.join(live_page.bridge)}"))
    page.locator("[data-dial=delay_ms][data-side=there]").focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    live_page.until(lambda: live_page.link(*live_page.bridge)["delay_ms"] > 20, "the delay has changed")
    page.locator("[data-preset=scenario]").click()
    live_page.until(lambda: live_page.link(*live_page.bridge)["delay_ms"] == 5, "it is as it was")


def rounds(live: Any, names: tuple[str, ...]) -> int:
    """How far the job is for these nodes, who are asked themselves: the page hears nothing beyond a cut."""
    found = []
    for name in names:
        with contextlib.suppress(MusterError):
            found += [job.round for job in Client(live.rundir / name).snapshot().jobs]
    return max(found, default=0)


def test_a_partition_makes_two_lanes_and_healing_a_merge(page: Any, live_page: Any) -> None:
    merges = int(page.locator("#history-scroll").get_attribute("data-merges") or 0)
    page.locator("#several").click()
    for name in live_page.west:
        page.mouse.click(*point(page, "renderedPosition()", f"n:{name}"))
    page.locator(".group-card h3", has_text="3 nodes selected").wait_for()
    page.locator("[data-do=partition]").click()
    live_page.until(lambda: bridge_up(live_page) == [False, False], "the emulator has cut the bridge")
    page.locator("#network-note", has_text="6 of 7 links up").wait_for()
    before = max(rounds(live_page, live_page.west), rounds(live_page, live_page.east))  # a round takes 0.5 s
    for side in (live_page.west, live_page.east):
        live_page.until(lambda side=side: rounds(live_page, side) >= before + 3, f"{side} went on", 90)
    page.locator("[data-do=heal-all]").click()
    live_page.until(lambda: bridge_up(live_page) == [True, True], "the emulator has healed the bridge")
    history = page.locator("#history-scroll")
    wait(page, lambda: int(history.get_attribute("data-lanes")) >= 2, "two lanes are drawn", 60)
    wait(page, lambda: int(history.get_attribute("data-merges")) > merges, "the merge is drawn", 60)


def test_a_node_is_killed_and_restarted_from_its_card(page: Any, live_page: Any) -> None:
    def running() -> bool:
        found = [node for node in live_page.emulator(op="nodes")["nodes"] if node["name"] == "foxtrot"]
        return bool(found[0]["running"])

    def shown() -> str:
        return str(page.evaluate("window.muster.store.tables.nodes.foxtrot.state"))

    page.mouse.click(*point(page, "renderedPosition()", "n:foxtrot"))
    page.locator(".node-card h3", has_text="foxtrot").wait_for()
    page.locator(".node-card [data-do=kill]").click()
    live_page.until(lambda: not running(), "its process has ended")
    page.locator(".node-card .state", has_text="gone").wait_for()
    page.locator(".node-card [data-do=restart]").click()
    live_page.until(running, "it has been started again")
    wait(page, lambda: shown() not in ("gone", "starting", "unknown"), "the page shows it at work", 60)
