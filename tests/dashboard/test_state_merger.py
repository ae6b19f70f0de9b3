"""A node's view and the emulator's knowledge, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from muster.dashboard.emulated_links import LinkSettings
from muster.dashboard.feed import Feed
from muster.dashboard.page import header
from muster.dashboard.state_merger import StateMerger, shifted
from muster.emulation.radio.model import LinkCount, LinkParams
from muster.node.api.snapshot import SelfView


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """A merger with a clock of its own; the node's clock runs 5000 s ahead."""

    def __init__(self, *, emulated: bool = True) -> None:
        self.clock = Clock()
        self.feed = Feed(header("t", emulated=emulated), self.clock)
        self.merger = StateMerger(self.feed, emulated=emulated)

    def see(self, *, first: bool = False, **tables: Any) -> None:
        head = {
            "view": "alpha",
            "version": "1",
            "tasks": ["digits"],
            "job": "j" if "jobs" in tables else None,
        }
        self.merger.see({"now_s": self.clock.now_s + 5000, "head": head, **tables}, first=first)

    def links(self, up: bool = True, count: int = 0, loss: float = 0.0) -> None:
        params = {
            "up": up,
            "rate_kbit_s": 64.0,
            "delay_ms": 50.0,
            "jitter_ms": 0.0,
            "loss": loss,
            "burst": None,
        }
        counts = {"bytes": count, "dropped_loss": 1, "dropped_queue": 2, "dropped_down": 3}
        ways = [
            {"a": a, "b": b, "params": params, "count": counts}
            for a, b in (("alpha", "bravo"), ("bravo", "alpha"))
        ]
        self.merger.links(ways, lambda pair: LinkSettings(None, None))

    def nodes(self, **bravo: Any) -> None:
        plain = {"address": "10.77.0.1", "away": False, "running": True, "paused": False, "slowdown": 1.0}
        self.merger.conditions([{"name": "alpha", **plain}, {"name": "bravo", **plain, **bravo}])

    def row(self, table: str, key: str) -> dict[str, Any]:
        return self.feed.tables[table][key]

    def told(self) -> list[str]:
        return [line["text"] for line in self.feed.log]

    def marks(self) -> list[tuple[str, list[str]]]:
        return [(mark["kind"], mark["nodes"]) for mark in self.feed.tables["marks"].values()]


def node(key: str, **fields: Any) -> dict[str, Any]:
    return {"id": key, "name": key, "me": key == "alpha", "state": "idle", "heard_t": None, **fields}


def played(steps: Callable[[Bench], None], **how: Any) -> Bench:
    async def run() -> Bench:
        bench = Bench(**how)
        steps(bench)
        return bench

    return asyncio.run(run())


def test_the_mergers_fields_are_the_emulators() -> None:
    """What the merger reads of links exists there (a renamed field would show as a dead page)."""
    assert {"up", "rate_kbit_s", "delay_ms", "jitter_ms", "loss", "burst"} <= set(
        LinkParams.__struct_fields__
    )
    assert {"bytes", "dropped_loss", "dropped_queue", "dropped_down"} <= set(LinkCount.__struct_fields__)
    assert {"state", "progress", "battery"} <= set(SelfView.__struct_fields__)


def test_instants_are_moved_to_the_feeds_clock() -> None:
    def steps(bench: Bench) -> None:
        bench.clock.now_s += 2
        bench.see(first=True, nodes={"bravo": node("bravo", heard_t=6001.5)}, log=[line("hello", 6001.0)])

    bench = played(steps)
    assert bench.row("nodes", "bravo")["heard_t"] == 1.5
    assert bench.feed.log[0]["t"] == 1.0
    assert bench.feed.fresh_t == 2.0
    assert shifted({"at": 3, "began_t": None, "x": [{"until_t": 2}]}, 1) == {
        "at": 3,
        "began_t": None,
        "x": [{"until_t": 3}],
    }


def line(text: str, t: float) -> dict[str, Any]:
    return {"t": t, "kind": "job", "text": text, "node": None, "job": None}


def test_a_node_that_comes_back_tells_nothing_twice() -> None:
    def steps(bench: Bench) -> None:
        bench.see(
            first=True, nodes={"alpha": node("alpha"), "bravo": node("bravo")}, log=[line("one", 6000.0)]
        )
        bench.clock.now_s += 1
        bench.see(log=[line("two", 6001.0)])
        bench.clock.now_s += 5
        again = [line("one", 6000.0), line("two", 6001.01), line("three", 6005.0)]
        bench.see(first=True, nodes={"alpha": node("alpha")}, log=again)

    bench = played(steps, emulated=False)
    assert bench.told() == ["one", "two", "three"]
    assert set(bench.feed.tables["nodes"]) == {"alpha"}  # what it does not know any more is gone


@pytest.mark.parametrize(
    ("condition", "state", "process"),
    [
        ({"away": True}, "away", "running"),
        ({"paused": True}, "paused", "paused"),
        ({"running": False}, "gone", "ended"),
        ({}, "training", "running"),
    ],
)
def test_the_emulator_knows_better_who_is_there(condition: dict[str, Any], state: str, process: str) -> None:
    def steps(bench: Bench) -> None:
        bench.nodes()
        bench.see(first=True, nodes={"bravo": node("bravo", state="training")})
        bench.nodes(**condition)

    row = played(steps).row("nodes", "bravo")
    assert (row["state"], row["emulated"]["process"]) == (state, process)


def test_a_node_is_starting_until_it_ran() -> None:
    bench = played(lambda bench: bench.nodes(running=False))
    assert bench.row("nodes", "bravo")["state"] == "starting"
    assert bench.row("nodes", "alpha")["state"] == "unknown"  # it runs, the viewing node has not heard of it


def test_what_happens_to_nodes_is_marked_and_told() -> None:
    def steps(bench: Bench) -> None:
        bench.nodes()
        for condition in ({"running": False}, {}, {"paused": True}, {}, {"away": True}, {}):
            bench.nodes(**condition)

    bench = played(steps)
    kinds = ["kill", "restart", "pause", "resume", "leave", "join"]
    assert bench.marks() == [(kind, ["bravo"]) for kind in kinds]
    assert bench.told()[0] == "the process of bravo has ended"
    assert len(bench.told()) == len(kinds)


def test_a_cut_and_a_heal_are_marked_at_the_jobs_age() -> None:
    def steps(bench: Bench) -> None:
        bench.see(first=True, jobs={"j": {"id": "j", "began_t": 6000.0}})
        bench.links()
        bench.clock.now_s += 10
        bench.links(up=False)
        bench.clock.now_s += 5
        bench.links()

    bench = played(steps)
    assert bench.marks() == [("cut", ["alpha", "bravo"]), ("heal", ["alpha", "bravo"])]
    assert [mark["age_s"] for mark in bench.feed.tables["marks"].values()] == [10.0, 15.0]
    row = bench.row("links", "alpha|bravo")
    assert row["up"]
    assert row["up_t"] == 15.0
    assert "bravo|alpha" not in bench.feed.tables["links"]


def test_many_links_at_once_are_a_partition() -> None:
    def steps(bench: Bench) -> None:
        for up in (True, False):
            params = {"up": up, "rate_kbit_s": 64.0, "delay_ms": 5.0, "jitter_ms": 0.0, "loss": 0.0}
            counts = {"bytes": 0, "dropped_loss": 0, "dropped_queue": 0, "dropped_down": 0}
            pairs = [("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")]
            ways = [{"a": a, "b": b, "params": params, "count": counts} for a, b in pairs]
            bench.merger.links(ways, lambda pair: LinkSettings(None, None))

    bench = played(steps)
    assert bench.marks() == [("partition", ["a", "b", "c"])]
    assert bench.told() == ["2 links are cut: a - c, b - c"]


def test_throughput_is_that_of_the_last_seconds() -> None:
    def steps(bench: Bench) -> None:
        for second in range(10):
            bench.links(count=1000 * second if second < 6 else 5000)
            bench.clock.now_s += 1

    row = played(steps).row("links", "alpha|bravo")
    assert row["there"]["bytes"] == 5000
    assert row["there"]["bytes_s"] == 0.0
    assert row["there"]["lost_frames"] == 6


def test_a_changed_parameter_is_marked() -> None:
    def steps(bench: Bench) -> None:
        bench.links()
        bench.links(loss=0.5)

    bench = played(steps)
    assert bench.marks() == [("link", ["alpha", "bravo"])]
    assert bench.row("links", "alpha|bravo")["quality"] == 0.05


@pytest.mark.parametrize("emulator_first", [True, False])
def test_the_viewing_nodes_measurements_join_the_emulators_links(emulator_first: bool) -> None:
    own = {"id": "bravo|alpha", "rtt_s": 0.1, "goodput_bytes_s": 8000.0, "quality": 0.8, "up": True}

    def steps(bench: Bench) -> None:
        if emulator_first:
            bench.links()
        bench.see(first=True, links={"bravo|alpha": own})
        bench.links()

    bench = played(steps)
    row = bench.row("links", "alpha|bravo")
    assert (row["rtt_s"], row["goodput_bytes_s"]) == (0.1, 8000.0)
    assert row["there"]["rate_kbit_s"] == 64.0
    assert set(bench.feed.tables["links"]) == {"alpha|bravo"}


def test_marks_are_bounded() -> None:
    def steps(bench: Bench) -> None:
        for number in range(520):
            bench.merger.marks.add("link", str(number), [])

    marks = played(steps).feed.tables["marks"]
    assert len(marks) == 500
    assert next(iter(marks.values()))["text"] == "20"


def test_of_a_model_in_use_the_emulated_node_itself_knows_most() -> None:
    def steps(bench: Bench) -> None:
        published = {
            "node": "bravo",
            "task": "digits",
            "version": "c0ffee00",
            "since_t": 6000.0,
            "server": None,
        }
        own = {**published, "since_t": 1000.0, "server": {"requests": 900}}
        shown = bench.feed.tables["field"]
        bench.see(first=True, nodes={}, field={"bravo/digits": published})
        assert shown["bravo/digits"]["server"] is None
        report = {"state": "idle", "progress": 0.0}
        bench.merger.report("bravo", {**report, "field": {"bravo/digits": own}})
        assert shown["bravo/digits"]["server"] == {"requests": 900}
        bench.see(field={"bravo/digits": {"version": "ab"}})  # an older record comes late
        assert shown["bravo/digits"]["version"] == "c0ffee00"
        bench.merger.report("bravo", None)  # it does not answer any more: what it published is left
        assert (shown["bravo/digits"]["server"], shown["bravo/digits"]["version"]) == (None, "ab")
        bench.see(first=True, nodes={}, field={})
        assert shown == {}

    played(steps)
