"""The page in a browser, over a made-up fleet: what it shows, asks and refuses to touch."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from served import STRANGE, Served, serve
from wire import Wire

pytestmark = pytest.mark.e2e
DESKTOP = {"width": 1280, "height": 860}


def until(holds: Callable[[], Any], what: str, timeout_s: float = 15.0) -> Any:
    end_s = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < end_s, f"waited {timeout_s:g} s until {what}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def served(built_page: None) -> Iterator[Served]:
    with serve() as started:
        yield started


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    """A fresh visit; what it asked of any host, and its errors, are judged at the end."""
    context = browser.new_context(viewport=DESKTOP)
    opened = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda line: errors.append(line.text) if "Content Security" in line.text else None)
    opened.goto(served.url)
    live(opened)
    yield opened
    context.close()
    foreign = [url for url in asked if not url.startswith((served.url, "data:", "blob:"))]
    assert foreign == []
    assert errors == []


def live(page: Any) -> None:
    until(lambda: page.locator("#stamp.live").count() == 1, "the page is live")


def pick(page: Any, *nodes: str, link: str | None = None) -> None:
    wanted = [f"n:{node}" for node in nodes] + ([f"l:{link}"] if link else [])
    there = "ids => ids.every(id => window.muster.cy.getElementById(id).nonempty())"
    until(lambda: page.evaluate(there, wanted), f"{wanted} are on the map")
    page.evaluate("([nodes, link]) => window.muster.map.pick(nodes, link)", [list(nodes), link])


def test_strange_names_are_only_strange_names(page: Any, served: Served) -> None:
    job, node = served.fleet.job, dict(served.state()["nodes"]["bravo"])
    commit = next(iter(served.state()["commits"].values()))
    gift = served.state()["contributions"][f"{job}/bravo"]
    mark = {"id": "odd", "kind": "cut", "t": 1.0, "job": job, "age_s": 9.0, "nodes": ["odd"], "text": STRANGE}
    served.publish(
        nodes={"odd": {**node, "id": "odd", "name": STRANGE, "refusal": STRANGE}},
        jobs={job: {"why": STRANGE}},
        commits={commit["id"]: {"coordinator": STRANGE}},
        contributions={f"{job}/odd": {**gift, "id": f"{job}/odd", "node": "odd"}},
        marks={"odd": mark},
    )
    served.do(lambda: served.feed.add_line("fault", STRANGE))
    pick(page, "odd")
    for place in ("#network-side h3", "#event-lines .what", "#contribution-rows .name"):
        page.locator(place, has_text=STRANGE).first.wait_for()
    page.locator("#as-table").click()
    page.locator("#tables .name", has_text=STRANGE).wait_for()
    assert page.locator("body img, body script").count() == 0
    assert page.evaluate("window.owned") is None
    served.publish(nodes={"odd": None}, contributions={f"{job}/odd": None})


def test_a_link_is_set_by_sliders_and_presets(page: Any, served: Served) -> None:
    served.clients.links.clear()
    pick(page, link="alpha|bravo")
    slider = page.locator("[data-dial=delay_ms][data-side=there]")
    slider.focus()
    page.keyboard.press("ArrowRight")
    until(lambda: served.clients.links, "the slider's value has come")
    sent = served.clients.links[-1]
    assert (sent.a, sent.b) == ("alpha", "bravo")
    assert sent.there.delay_ms == sent.back.delay_ms > 0
    page.locator("#both-directions").uncheck()
    page.locator("[data-dial=loss][data-side=back]").focus()
    page.keyboard.press("End")
    until(lambda: served.clients.links[-1].back.loss == 0.5, "the loss has come")
    assert served.clients.links[-1].there.loss is None
    page.locator("[data-preset=lora]").click()
    until(lambda: served.clients.links[-1].preset == "lora", "the preset has come")


def test_selected_nodes_are_partitioned(page: Any, served: Served) -> None:
    page.locator("#as-table").click()
    for name in ("alpha", "bravo"):
        page.get_by_label(f"select {name}", exact=True).check()
    page.locator("[data-do=partition]").click()
    until(lambda: served.clients.faults, "the fault has come")
    assert [set(group) for group in served.clients.faults[-1].groups] == [{"alpha", "bravo"}]


def test_outside_an_emulation_it_shows_and_does_not_touch(browser: Any, built_page: None) -> None:
    with serve(emulated=False) as real:
        real.publish(
            links={"alpha|bravo": {"emulated": False}},
            nodes={name: {"emulated": None} for name in ("alpha", "bravo")},
        )
        context = browser.new_context(viewport=DESKTOP)
        page = context.new_page()
        page.goto(real.url)
        live(page)
        pick(page, link="alpha|bravo")
        page.locator(".link-card .state").wait_for()
        assert page.locator("[data-dial]:enabled").count() == 0
        assert page.locator("[data-do=cut]:visible, [data-preset]:visible").count() == 0
        pick(page, "bravo")
        page.locator(".node-card .state").wait_for()
        assert page.locator("[data-do=kill]:visible").count() == 0
        context.close()


def test_history_compares_two_commits_and_begins_a_job_there(page: Any, served: Served) -> None:
    scroller = page.locator("#history-scroll")
    until(lambda: int(scroller.get_attribute("data-merges") or 0) >= 1, "a merge is drawn")
    assert int(scroller.get_attribute("data-lanes")) == 2
    rows = sorted(served.state()["commits"].values(), key=lambda row: row["age_s"])
    first, second = rows[-3], rows[-6]
    detail = dict.fromkeys(("params", "delta_bytes", "delta_codec"))
    detail |= {"job": served.fleet.job, "task": "digits", "head": False, "examples": 9, "residual_norm": 0.0}
    detail |= {"children": [], "counted": [], "roster": [], "discarded": [], "counted_in_all": 8}
    detail |= {"params_bytes": 19304}
    layer = {"name": "fc1.weight", "shape": [4, 4], "norm_a": 5.1, "moved": 0.31, "moved_max": 0.02}
    one = {"node": "echo", "incarnation": 1, "sequence": 1, "steps": 9, "examples": 9, "weight": 1.0}
    served.clients.answers.update(
        show=lambda asked: {**detail, "commit": first if asked["commit"] == first["id"] else second},
        diff={
            "a": first,
            "b": second,
            "same_job": True,
            "only_a": [],
            "only_b": [{**one, "weight": 1.0}],
            "layers": [layer],
        },
        train={"job": "9" * 64},
    )
    click_commit(page, first["id"])
    page.locator("#history-detail", has_text=f"round {first['round']}").wait_for()
    click_commit(page, second["id"])
    page.locator("#history-detail", has_text="only the second counts: echo 1").wait_for()
    page.locator("#history-detail", has_text="fc1.weight").wait_for()
    click_commit(page, first["id"])  # lets go of it: one is left
    page.locator("#history-detail [data-do=new-job]").click()
    page.locator("dialog input[name=rounds]").fill("7")
    page.get_by_role("button", name="Start", exact=True).click()
    until(lambda: [op for op, _ in served.clients.asked if op == "train"], "the job was asked for")
    asked = [arguments for op, arguments in served.clients.asked if op == "train"][-1]
    assert asked["from"] == second["id"]
    assert asked["rounds"] == 7


def test_budgets_are_bars_and_energy_is_an_axis(page: Any, served: Served) -> None:
    job, commits = served.fleet.job, served.state()["commits"]
    assert page.locator("#budget-bars").is_hidden()
    assert page.locator("#by-joules").is_hidden()  # nobody knows what it draws
    of_all = [("bytes", 1.9e6, 2e6, None), ("joules", 812.0, 7200.0, None)]
    of_nodes = [("bytes", 4e5, 8e5, "bravo")]
    budgets = [dict(zip(("resource", "spent", "limit", "node"), b, strict=True)) for b in of_all + of_nodes]
    used = {c: {"joules": row["bytes_total"] / 5000} for c, row in commits.items()}
    served.publish(jobs={job: {"budgets": budgets, "joules": 812.0}}, commits=used)
    try:
        until(lambda: page.locator("#budget-bars li").count() == 3, "the bars are there")
        texts = page.locator("#budget-bars .when").all_inner_texts()
        assert texts == ["1.9 MB of 2 MB", "812 J of 7.2 kJ", "400 kB of 800 kB"]
        assert page.locator("#budget-bars li.nearly .who").all_inner_texts() == ["bytes"]
        parts = page.evaluate(
            "() => [...document.querySelectorAll('#budget-bars .spent')]"
            ".map(bar => bar.firstElementChild.offsetWidth / bar.offsetWidth)"
        )
        assert parts == pytest.approx([0.95, 812 / 7200, 0.5], abs=0.05)
        assert "6.39 kJ left" in page.locator("#budget-bars li").nth(1).get_attribute("title")
        page.locator("#by-joules").click()
        until(lambda: page.locator("#by-joules").get_attribute("aria-pressed") == "true", "it is pressed")
        page.locator("#chart .u-over").hover()
        until(lambda: " J" in page.locator("#chart-tip b").inner_text(), "the tip is in joules")
    finally:
        served.publish(
            jobs={job: {"budgets": [], "joules": None}}, commits={c: {"joules": None} for c in used}
        )
    until(lambda: page.locator("#by-age").get_attribute("aria-pressed") == "true", "time is the axis again")
    until(lambda: page.locator("#budget-bars").is_hidden(), "the bars are gone")


def test_what_works_in_the_place_of_a_node_is_dashed(page: Any, served: Served) -> None:
    job, state = served.fleet.job, served.state()
    before, given = state["rounds"][job], state["contributions"]
    alpha, bravo, *_, delta = sorted(before["nodes"])
    nodes = {node: part for node, part in before["nodes"].items() if node not in (bravo, delta)}
    waits = {"trainer": alpha, "phase": "wait", "progress": 0.0, "steps": 20}
    stand_ins = {
        bravo: {**waits, "phase": "in", "progress": 1.0},
        delta: {**waits, "phase": "train", "progress": 0.4},
    }
    gave = next(key for key, row in given.items() if row["node"] == delta)
    newest = served.fleet.feed.tables["jobs"][job]["head"]
    served.publish(
        rounds={job: {"nodes": nodes, "stand_ins": stand_ins}},
        contributions={gave: {"stood_in": given[gave]["counted"] + 1}},
        commits={newest: {"stand_ins": [bravo, delta]}},
    )
    try:
        until(lambda: page.locator("#round-bars li.instead").count() == 2, "two are stood in for")
        assert page.locator("#round-bars li.instead .when").all_inner_texts() == [
            "✓ stand-in",
            f"by {alpha} 40 %",
        ]
        assert f"{delta} misses the round" in page.locator("#round-bars li.instead").nth(1).get_attribute(
            "title"
        )
        assert "2 stood in for" in page.locator("#round-line").inner_text()
        bar = page.locator("#round-bars .instead .phases i").nth(1)
        assert bar.evaluate("bar => getComputedStyle(bar).borderStyle") == "dashed"
        until(lambda: page.locator("#contribution-rows .bar.instead").count() == 1, "its bar is dashed, too")
    finally:
        served.publish(
            rounds={job: {"nodes": before["nodes"], "stand_ins": {}}},
            contributions={gave: {"stood_in": 0}},
            commits={newest: {"stand_ins": []}},
        )


def test_a_new_job_may_have_budgets(page: Any, served: Served) -> None:
    job = served.fleet.job
    served.publish(jobs={job: {"state": "finished"}})
    try:
        page.locator("#new-job").click()
        for name, value in (("seconds", "60"), ("mb", "1.5"), ("joules", "900"), ("joules_node", "90")):
            page.locator(f"dialog input[name={name}]").fill(value)
        before = len(served.clients.asked)
        page.get_by_role("button", name="Start", exact=True).click()
        until(lambda: len(served.clients.asked) > before, "the job was asked for")
    finally:
        served.publish(jobs={job: {"state": "running"}})
    asked = [arguments for op, arguments in served.clients.asked if op == "train"][-1]
    wanted = {"seconds": 60, "bytes": 1_500_000, "joules": 900, "joules_node": 90}
    assert {name: asked.get(name) for name in wanted} == wanted
    assert "bytes_node" not in asked


def click_commit(page: Any, commit: str) -> None:
    place = "id => window.muster.history.place(id)"
    until(lambda: page.evaluate(place, commit) is not None, "the commit is drawn")
    at = page.evaluate(place, commit)
    page.mouse.click(at["x"], at["y"])


def test_contributions_are_sorted_by_any_column(page: Any) -> None:
    def column(number: int) -> list[float]:
        texts = page.locator(f"#contribution-rows tr > :nth-child({number})").all_inner_texts()
        return [float(re.sub(r"[^\d.-]", "", text)) for text in texts]

    values = until(lambda: len(column(2)) >= 4 and column(2), "the table is there")
    assert values == sorted(values, reverse=True)
    page.locator("[data-sort=samples] button").click()
    until(lambda: column(3) == sorted(column(3), reverse=True), "the largest are first")
    page.locator("[data-sort=samples] button").press("Enter")
    until(lambda: column(3) == sorted(column(3)), "the smallest are first")


def test_the_keyboard_goes_through_nodes_and_links(page: Any) -> None:
    known = "() => Object.keys(window.muster.store.tables.nodes).length"
    until(lambda: page.evaluate(known) == 4, "the nodes are known")
    page.locator("#stage").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".node-card h3", has_text="alpha").wait_for()
    page.keyboard.press("ArrowDown")
    page.locator(".link-card h3", has_text="–").wait_for()
    page.keyboard.press("Escape")
    until(lambda: page.locator("#network-side").is_hidden(), "the card is closed")


def test_a_dragged_node_stays_where_it_was_put(page: Any) -> None:
    position = "window.muster.cy.getElementById('n:bravo').renderedPosition()"
    # A page that is just being drawn has no box for a moment.
    box = until(lambda: page.locator("#stage").bounding_box(), "the network is drawn")
    at = page.evaluate(position)
    page.mouse.move(box["x"] + at["x"], box["y"] + at["y"])
    page.mouse.down()
    page.mouse.move(box["x"] + at["x"] + 40, box["y"] + at["y"] - 30, steps=4)
    page.mouse.up()
    put = page.evaluate(position)
    assert abs(put["x"] - at["x"]) + abs(put["y"] - at["y"]) > 30
    page.reload()
    live(page)
    found = until(lambda: page.evaluate(position), "the node is there again")
    assert found == pytest.approx(put, abs=1.5)


def test_a_gap_in_the_numbers_is_healed_by_a_snapshot(page: Any, served: Served) -> None:
    page.evaluate("window.muster.store.connection.last = '0badb007-5'")
    served.do(lambda: served.feed.add_line("page", "after the gap"))
    page.locator("#event-lines .what", has_text="after the gap").first.wait_for()
    connection = page.evaluate("window.muster.store.connection")
    assert (connection["gaps"], connection["snapshots"]) == (1, 2)


def test_after_a_lost_connection_no_event_is_missing(browser: Any, served: Served) -> None:
    wire = Wire(served.url)
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.goto(wire.url)
    live(page)
    wire.cut()
    page.locator("#stamp.lost", has_text="lost").wait_for()
    page.locator("#banner", has_text="No connection").wait_for()
    assert page.locator("body.stale-data").count() == 1
    served.do(lambda: [served.feed.add_line("page", f"meanwhile {k}") for k in range(30)])
    served.publish(nodes={"bravo": {"samples": 4711}})
    wire.mend()
    live(page)
    assert page.locator("#banner").is_hidden()
    lines = "window.muster.store.log.map(line => line.text).filter(text => text.startsWith('meanwhile'))"
    until(lambda: page.evaluate(lines) == [f"meanwhile {k}" for k in range(30)], "every line has come once")
    assert page.evaluate("window.muster.store.tables.nodes.bravo.samples") == 4711
    connection = page.evaluate("window.muster.store.connection")
    assert (connection["snapshots"], connection["gaps"]) == (1, 0), "it went on from the last event"
    context.close()
    wire.close()


def test_a_silent_node_does_not_look_alive(page: Any, served: Served) -> None:
    source = dict(served.feed.header["source"])
    silent = {**source, "state": "silent", "reason": "It has not answered for 3 s."}
    served.do(lambda: served.feed.describe({"source": silent}))
    page.locator("#stamp.stale").wait_for()
    page.locator("body.stale-data").wait_for()
    served.do(lambda: served.feed.describe({"source": source}))
    live(page)


@pytest.mark.parametrize(("token", "role"), [("operator-token", "operator"), ("viewer-token", "viewer")])
def test_with_tokens_nothing_is_shown_without_one(
    browser: Any, built_page: None, token: str, role: str
) -> None:
    with serve(tokens=True) as closed:
        context = browser.new_context(viewport=DESKTOP)
        page = context.new_page()
        page.goto(closed.url)
        page.locator("#token[open]").wait_for()
        assert page.evaluate("window.muster.store.header") is None
        page.locator("#token-text").fill("a guess")
        page.keyboard.press("Enter")
        page.locator("#token-wrong", has_text="not the page's token").wait_for()
        page.goto("about:blank")
        page.goto(f"{closed.url}#token={token}")
        live(page)
        assert page.url == closed.url
        pick(page, link="alpha|bravo")
        page.locator(".link-card .state").wait_for()
        assert page.locator("[data-do=cut]:visible").count() == (1 if role == "operator" else 0)
        assert page.locator("#viewer:visible").count() == (0 if role == "operator" else 1)
        context.close()


def test_a_phone_shows_everything_and_scrolls_over_the_map(browser: Any, served: Served) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    context = browser.new_context(**phone, device_scale_factor=2)
    page = context.new_page()
    page.goto(served.url)
    live(page)
    served.do(lambda: [served.feed.add_line("page", f"line {k}") for k in range(5)])
    page.locator("#event-lines .what", has_text="line 4").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for panel in ("network", "training", "contributions", "history", "events"):
        assert page.locator(f"#{panel}").bounding_box()["height"] > 90
    box = page.locator("#stage").bounding_box()
    swipe(context.new_cdp_session(page), 195, box["y"] + 200)
    on_node = page.evaluate("window.muster.cy.nodes()[0].renderedPosition()")
    until(lambda: page.evaluate("window.scrollY") > 100, "a finger on the map has scrolled the page")
    page.evaluate("window.scrollTo(0, 0)")
    swipe(context.new_cdp_session(page), box["x"] + on_node["x"], box["y"] + on_node["y"])
    until(lambda: page.evaluate("window.scrollY") > 60, "a finger on a node has, too")
    context.close()


def swipe(device: Any, x: float, y: float) -> None:
    """One finger goes up by 150 pixels."""
    touch: dict[str, Any] = {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    device.send("Input.dispatchTouchEvent", touch)
    for k in range(1, 11):
        touch = {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 15 * k}]}
        device.send("Input.dispatchTouchEvent", touch)
    device.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_nothing_overflows_at_1280(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    head = page.locator(".top").bounding_box()
    assert head["height"] < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_of_words_have_enough_contrast(browser: Any, served: Served, scheme: str) -> None:
    context = browser.new_context(viewport=DESKTOP, color_scheme=scheme)
    page = context.new_page()
    page.goto(served.url)
    found = page.evaluate(
        """() => Object.fromEntries(["panel", "raised", "text", "muted", "teal", "blue", "violet", "yellow",
             "orange", "green", "red", "grey"].map(name =>
             [name, getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim()]))"""
    )
    for ground in (found.pop("panel"), found.pop("raised")):
        for name, colour in found.items():
            assert contrast(colour, ground) >= 4.5, (scheme, name)  # WCAG 2.2, 1.4.3, level AA
    context.close()


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
