"""Drawing a frame is a pure function: it fills the terminal exactly and shows what matters."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from fakenode import contribution, job_view, snapshot
from msgspec.structs import replace as replace_struct
from rich.console import Console

from muster.cli.demo.adapt.news import news
from muster.cli.demo.views.frame import (
    Frame,
    LinkLine,
    LinkMeter,
    NodeLine,
    curve_of,
    node_rows,
    state_of,
)
from muster.cli.demo.views.in_use import InUseLine, in_use_table
from muster.cli.demo.views.terminal import PlainView, bar, battery, draw, sparkline
from muster.node.api.field_view import FieldView
from muster.node.api.snapshot import CommitView, PeerView

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")


def frame(nodes: int = 8, links: int = 13, events: int = 20) -> Frame:
    rows = tuple(
        NodeLine(NAMES[i % 8], ("training", "away", "idle")[i % 3], 0.5, 0.02, 0.8, 180, 60, 3, 0.125)
        for i in range(nodes)
    )
    lines = tuple(LinkLine("alpha", f"node{i}", i != 1, 1000 * i, 20, 10.0, 0.0) for i in range(links))
    said = tuple((float(i), f"event number {i} " + "x" * 100) for i in range(events))
    return Frame(
        "digits on field-8", "", 12.0, job_view("running"), ((1, 0.1), (2, 0.9)), rows, lines, said, events
    )


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 15), (200, 60)])
@pytest.mark.parametrize("nodes", [3, 8, 20])
def test_every_size_is_filled_and_not_exceeded(width: int, height: int, nodes: int) -> None:
    lines = draw(frame(nodes), width, height)
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width


def test_at_80_by_24_all_eight_nodes_some_links_and_six_events_are_there() -> None:
    text = "\n".join(line.plain for line in draw(frame(), 80, 24))
    assert all(name in text for name in NAMES)
    assert text.count("event number") == 6
    assert "event number 19" in text
    assert "9 quieter ones not shown" in text
    assert "round 3/3   accuracy 93.4 %" in text


def test_at_120_by_40_all_links_are_there() -> None:
    text = "\n".join(line.plain for line in draw(frame(), 120, 40))
    assert all(f"alpha-node{i} " in text for i in range(13))
    assert "down" in text
    assert text.count("event number") >= 8


def test_before_there_is_a_job_the_phase_is_shown() -> None:
    early = Frame(
        "t", "starting: 3 of 8 nodes are up", 2.0, None, (), (NodeLine("alpha", "starting"),), (), ()
    )
    assert "starting: 3 of 8" in "\n".join(line.plain for line in draw(early, 80, 24))


def test_bars_and_sparklines() -> None:
    assert bar(0.0, 4) == "····"
    assert bar(1.0, 4) == "████"
    assert bar(0.5, 4) == "██··"
    assert bar(0.28, 4) == "█▏··"
    assert [bar(i / 32, 4) for i in range(33)] == list(dict.fromkeys(bar(i / 32, 4) for i in range(33)))
    assert sparkline([0.0, 0.5, 1.0], 2) == "▁█"
    assert sparkline([0.3, 0.3], 9) == "▁▁"
    assert sparkline([], 9) == ""
    assert battery(0.1).plain == "○  10 %"
    assert battery(None).plain == "mains"


def test_state_word() -> None:
    seen = snapshot(state="training")
    assert state_of(None, away=True, ended=False) == "starting"
    assert state_of(seen, away=False, ended=False) == "training"
    assert state_of(seen, away=True, ended=False) == "away"
    assert state_of(seen, away=True, ended=True) == "gone"


def test_rows_join_the_nodes_with_what_the_asker_counted() -> None:
    rows = node_rows(
        ("alpha", "bravo", "charlie"), {"alpha": snapshot()}, frozenset(), frozenset(), job_view()
    )
    assert (rows[0].updates_counted, rows[0].share, rows[0].battery) == (3, 0.75, 0.83)
    assert (rows[1].step_s, rows[1].state) == (0.01, "starting")
    assert rows[2] == NodeLine("charlie", "starting")
    assert curve_of(job_view()) == ((12.0, 0.934),)


def test_meter_counts_from_the_reset_and_rates_over_a_window() -> None:
    meter = LinkMeter()
    assert meter.total(("a", "b")) == 0
    assert meter.rate(("a", "b")) == 0.0
    meter.add(0.0, {("a", "b"): 100, ("b", "a"): 5})
    meter.reset()
    for second in range(1, 11):
        meter.add(float(second), {("a", "b"): 100 + 1000 * second, ("b", "a"): 5})
    assert meter.totals() == {("a", "b"): 10_000, ("b", "a"): 0}
    assert meter.rate(("a", "b")) == 1000.0
    assert meter.before_reset() == 105
    (row,) = meter.rows((("a", "b"),), frozenset({("a", "b")}))
    assert (row.up, row.there_bytes, row.back_bytes) == (False, 10_000, 0)


def test_plain_prints_each_event_and_each_round_once() -> None:
    out = io.StringIO()
    view = PlainView(Console(file=out, width=80))
    first = frame(events=2)
    for shown in (first, first, frame(events=4)):
        view.show(shown)
    said = out.getvalue().splitlines()
    assert [line.split()[4] for line in said if "event number" in line] == ["0", "1", "2", "3"]
    assert sum("round 3/3" in line for line in said) == 1


def test_plain_counts_the_rounds_of_each_job() -> None:
    out = io.StringIO()
    view = PlainView(Console(file=out, width=80))
    for job, round_ in (("aa", 3), ("aa", 3), ("bb", 0), ("bb", 1), ("bb", 3)):
        view.show(replace(frame(), job=job_view("running", round_, id=job)))
    said = [line.split()[3] for line in out.getvalue().splitlines() if "on the air" in line]
    assert said == ["3/3:", "1/3:", "3/3:"]


def test_a_node_in_whose_place_others_train_has_a_dashed_line_with_their_samples() -> None:
    golf = replace_struct(contribution("golf", 0.2), stood_in=7, shared_bytes=1300)
    commits = [
        CommitView("aa" * 32, [], 4, "alpha", 2, ["alpha"], 9.0, None, None, True, stand_ins=["golf"]),
        CommitView("bb" * 32, ["aa" * 32], 4, "", 0, [], 9.5, None, None, True),  # closes the job
    ]
    job = job_view("running", 4, contributions=[contribution("alpha"), golf], commits=commits)
    seen = replace_struct(snapshot("alpha"), peers=[PeerView("67", "golf", "idle", 0, 41, None, None, False)])
    rows = node_rows(("alpha", "golf"), {"alpha": seen}, frozenset(), frozenset(), job, "alpha")
    assert [row.stand_in for row in rows] == [False, True]
    lines = [line.plain for line in draw(replace(frame(), nodes=rows, job=job), 80, 24)]
    (line,) = [line for line in lines if "golf" in line]
    assert "stand-in" in line
    assert "╌╌╌ 1.3 kB, met 41 s ago       7   20 %" in line
    without = replace_struct(job, commits=[])
    rows = node_rows(("alpha", "golf"), {"alpha": seen}, frozenset(), frozenset(), without, "alpha")
    assert [row.stand_in for row in rows] == [False, False]


def test_models_in_use_have_a_line_a_node_that_fits() -> None:
    rows = (
        InUseLine("alpha", "idle", True, "45187a7b", "adopted", 0.81, 4120, 0, 0, 110, 0, ("bravo", "echo")),
        InUseLine("charlie", "training", False, "first-7c398cb3", "first", 0.94, 4100),
        InUseLine("foxtrot", "gone", True, "wrong-c925721c", "forced", 0.21, 4099, 1, 2, 0, 20),
    )
    shown = Frame("t", "labels tell", 2.0, None, (), (), (), (), in_use=rows)
    for width in (80, 120):
        lines = [line.plain for line in draw(shown, width, 24)]
        assert max(map(len, lines)) <= width
        text = "\n".join(lines)
        for shown_there in ("labels tell", "45187a7b", "adopted", "81 %", "4120"):
            assert shown_there in text
        assert re.search(r"foxtrot .*21 %.* 4099 +3 +\+20", text)
    wide = in_use_table(rows, 120, 3)
    assert "█" in wide[1].plain
    assert "bravo, echo" in wide[1].plain
    assert "2 more nodes" in wide[2].plain


def test_what_changed_on_a_node_is_said_once() -> None:
    first = view(version="first-1", reason="first")
    assert news(None, first) == ["alpha uses first-1: the first model"]
    assert news(first, first) == []
    asks = view(version="first-1", reason="first", labels_wanted=20, waits="20 more labels would say")
    assert news(first, asks) == ["alpha notices a change: 20 more labels would say"]
    fails = view(version="first-1", reason="first", need="open", alike=["bravo", "echo"], job="ab" * 16)
    assert news(asks, fails) == [
        "alpha tells that its model fails there, with a sketch of what it sees",
        "the same happened to alpha, bravo and echo",
        "alpha takes part in the job abababab",
    ]
    fewer = view(version="c0ffee00", reason="adopted", need="met", held_labels=70, wins=41, losses=2)
    assert news(fails, fewer) == [
        "alpha uses c0ffee00: it is better on labels that were held out (41 of 70 by it alone, 2 by the "
        "former alone)"
    ]
    back = view(version="first-1", reason="returned")
    assert news(fewer, back) == ["alpha uses first-1: the former model answered new labels better"]


def view(**given: Any) -> FieldView:
    plain = dict.fromkeys(FieldView.__struct_fields__, None)
    plain |= dict.fromkeys(("live_labels", "live_right", "held_labels", "wins", "losses", "labels_wanted"), 0)
    plain |= {"node": "alpha", "task": "digits", "me": True, "need": "", "waits": "", "alike": []}
    return FieldView(**{**plain, **given})
