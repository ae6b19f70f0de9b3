"""Models in use on the page, in a browser: shown, put into use, rolled back; samples labelled by keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from served import Served, serve
from test_page_browser import DESKTOP, live, pick, until

from madeup_rows import field_row
from muster.errors import MusterError

pytestmark = pytest.mark.e2e
MOVED = {"task": "digits", "version": "77ab12cd", "former": "first-7c398cb3", "said": "it is better"}


@pytest.fixture(scope="module")
def served(built_page: None) -> Iterator[Served]:
    with serve() as started:
        feed, names = started.feed, ("alpha", "bravo", "charlie", "delta")
        commit = max(started.state()["commits"].values(), key=lambda row: row["age_s"])["id"]
        rows = [field_row(Random(1), k, name, commit, feed.t()) for k, name in enumerate(names)]
        started.publish(field={f"{row['node']}/digits": row for row in rows})
        yield started


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:
    context = browser.new_context(viewport=DESKTOP)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(served.url)
    live(opened)
    served.clients.asked.clear()
    yield opened
    context.close()
    assert errors == []


def test_a_line_a_node_says_what_is_in_use_and_how_good_it_is(page: Any, served: Served) -> None:
    rows = page.locator("#use-rows tr")
    until(lambda: rows.count() == 4, "four nodes are there")
    failing = page.locator("#use-rows tr.failing")
    assert failing.count() == 1
    row = served.state()["field"]["charlie/digits"]
    share = f"{100 * row['live_right'] / row['live_labels']:.0f} %"
    assert failing.inner_text().split()[:3] == ["charlie", *share.split()]
    assert "12 labels wanted" in page.locator("#contributions-note").inner_text()
    page.locator("#as-given").click()
    page.locator("#contribution-rows tr").first.wait_for()
    assert not page.locator("#use-rows tr").first.is_visible()


def test_a_model_that_went_into_use_is_marked_on_the_curves(page: Any, served: Served) -> None:
    commit = max(served.state()["commits"].values(), key=lambda row: row["age_s"])
    text = f"round {commit['round']} is in use on alpha, bravo"
    mark = {"id": "use-1", "kind": "use", "t": 1.0, "job": commit["job"], "age_s": commit["age_s"]}
    served.publish(marks={"use-1": {**mark, "nodes": ["alpha", "bravo"], "text": text}})
    chart = page.locator("#chart")
    until(lambda: "use" in (chart.get_attribute("data-marks") or "").split(), "the mark is there")
    box = chart.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2)
    page.locator("#chart-tip", has_text=text).wait_for()


def test_the_card_rolls_back_on_the_viewing_node_only(page: Any, served: Served) -> None:
    served.clients.answers["rollback"] = MOVED
    pick(page, "bravo")
    page.locator(".in-use h4", has_text="In use: digits").wait_for()
    assert page.locator(".in-use button:visible").count() == 0
    pick(page, "alpha")
    page.locator(".in-use [data-do=rollback]").click()
    until(lambda: ("rollback", {"task": "digits"}) in served.clients.asked, "the node is asked")
    page.locator("#said", has_text="77ab12cd is in use: it is better").wait_for()


def test_a_commit_that_is_refused_is_used_only_by_force(page: Any, served: Served) -> None:
    def use(arguments: dict[str, Any]) -> Any:
        if not arguments["force"]:
            raise MusterError("refused", "it is right on 30 of 70 held-out labels: not used")
        return MOVED

    served.clients.answers["use"] = use
    commit = max(served.state()["commits"].values(), key=lambda row: row["age_s"])["id"]
    place = "id => window.muster.history.place(id)"
    until(lambda: page.evaluate(place, commit) is not None, "the commit is drawn")
    at = page.evaluate(place, commit)
    page.mouse.click(at["x"], at["y"])
    page.locator("#history-detail [data-do=use]").click()
    page.locator("#history-detail .refused", has_text="30 of 70 held-out labels").wait_for()
    page.locator("#history-detail [data-do=force]").click()
    page.locator("#said", has_text="77ab12cd is in use").wait_for()
    asked = [arguments for op, arguments in served.clients.asked if op == "use"]
    assert [(one["model"], one["force"]) for one in asked] == [(commit, False), (commit, True)]


def test_samples_are_labelled_with_one_key_each(page: Any, served: Served) -> None:
    pixels = base64.b64encode(bytes(range(64))).decode()
    shape = {"width": 8, "height": 8, "channels": 1, "pixels": pixels, "text": ""}
    samples = [{"id": k, **shape, "answer": 3, "held": None if k else True} for k in range(3)]
    classes = [str(digit) for digit in range(10)]
    served.clients.answers["to_label"] = {"task": "digits", "classes": classes, "samples": samples}
    pick(page, "alpha")
    page.locator(".in-use [data-do=label]").click()
    page.locator("dialog.labelling", has_text="the model says 3").wait_for()
    size = page.evaluate("(c => [c.width, c.height])(document.querySelector('.labelling canvas'))")
    assert size == [8, 8]
    for key in ("7", "s", "0"):
        page.keyboard.press(key)
        page.wait_for_timeout(100)
    until(lambda: page.locator("dialog.labelling").count() == 0, "it closes when no other sample waits")
    given = [arguments for op, arguments in served.clients.asked if op == "label"]
    assert [(one["sample"], one["label"], one["held"]) for one in given] == [(0, 7, True), (2, 0, None)]
    page.locator("#said", has_text="2 labels given").wait_for()


def test_a_viewer_sees_no_samples_and_moves_nothing(browser: Any, built_page: None) -> None:
    with serve(tokens=True) as guarded:
        guarded.publish(field={"alpha/digits": field_row(Random(1), 0, "alpha", "a" * 64, 0.0)})
        context = browser.new_context(viewport=DESKTOP)
        page = context.new_page()
        page.goto(f"{guarded.url}#token=viewer-token")
        live(page)
        pick(page, "alpha")
        page.locator(".in-use h4", has_text="In use: digits").wait_for()
        assert page.locator(".in-use button:visible").count() == 0
        refused = page.evaluate("fetch('api/label?task=digits').then(a => a.status)")
        assert refused == 403
        assert guarded.clients.asked == []
        context.close()
