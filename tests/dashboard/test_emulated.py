"""The emulator's door: what clicks become on its control socket, and what is seen there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from muster.control.server import ControlServer
from muster.dashboard import emulated
from muster.dashboard.emulated import EmulatedNetwork
from muster.dashboard.feed import Feed
from muster.dashboard.http.requests import Drop, LinkParameters, LinkRequest
from muster.dashboard.page import header
from muster.dashboard.presets import PRESETS
from muster.dashboard.state_merger import StateMerger
from muster.emulation.radio.model import LinkParams, fault_in
from muster.errors import MusterError
from muster.simulation.faults import Cut, Restart
from patience import patient_s

FIRST = {"up": True, "rate_kbit_s": 1000.0, "delay_ms": 50.0, "jitter_ms": 0.0, "loss": 0.01}


class FakeEmulator:
    """Two nodes and a link; notes what it is told to do."""

    def __init__(self, rundir: Path) -> None:
        self.params = {("alpha", "bravo"): dict(FIRST), ("bravo", "alpha"): dict(FIRST)}
        self.told: list[dict[str, Any]] = []
        ops = ("scenario", "nodes", "links", "set", "fault")
        self.server = ControlServer(rundir / "control.sock", {op: partial(self.answer, op) for op in ops})

    async def answer(self, op: str, request: dict[str, Any]) -> dict[str, Any]:
        count = {"bytes": 0, "dropped_loss": 0, "dropped_queue": 0, "dropped_down": 0}
        links = [{"a": a, "b": b, "params": p, "count": count} for (a, b), p in self.params.items()]
        plain = {"address": "x", "away": False, "running": True, "paused": False, "slowdown": 1.0}
        match op:
            case "scenario":
                first = [{"a": a, "b": b, "params": FIRST} for a, b in self.params]
                return {"name": "two", "text": "", "links": first}
            case "nodes":
                return {"nodes": [{"name": name, **plain} for name in ("alpha", "bravo")]}
            case "links":
                return {"links": links}
        self.told.append({"op": op, **request})
        if op == "set":
            self.params[request["a"], request["b"]].update(request["params"])
        elif request["fault"]["fault"] in ("cut", "heal"):
            for params in self.params.values():
                params["up"] = request["fault"]["fault"] == "heal"
        elif request["fault"].get("node") == "nobody":
            raise MusterError("scenario", "there is no node 'nobody'")
        return {}


def on_network(
    tmp_path: Path, steps: Callable[[EmulatedNetwork, FakeEmulator, Feed], Awaitable[None]]
) -> None:
    async def run() -> None:
        fake = FakeEmulator(tmp_path)
        await fake.server.start()
        feed = Feed(header("t", emulated=True))
        network = EmulatedNetwork(StateMerger(feed, emulated=True), tmp_path)
        task = asyncio.create_task(network.run())
        try:
            async with asyncio.timeout(patient_s(10)):
                while not feed.tables["links"]:
                    await asyncio.sleep(0.005)
                await steps(network, fake, feed)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await fake.server.close()

    asyncio.run(run())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated, "LOOK_S", 0.01)
    monkeypatch.setattr(emulated, "RETRY_S", 0.01)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.id)
def test_presets_are_links_that_can_be(preset: Any) -> None:
    for way in (preset.there, preset.back):
        params = LinkParams(way.rate_kbit_s, way.delay_ms, way.jitter_ms, way.loss)
        assert fault_in(params) is None


def test_parameters_go_to_their_direction_only(tmp_path: Path) -> None:
    async def steps(network: EmulatedNetwork, fake: FakeEmulator, feed: Feed) -> None:
        await network.set_link(LinkRequest("bravo", "alpha", there=LinkParameters(loss=0.2)))
        wanted = {"op": "set", "a": "bravo", "b": "alpha", "params": {"loss": 0.2}, "both": False}
        assert fake.told == [wanted]
        row = feed.tables["links"]["alpha|bravo"]
        await until(lambda: row["back"]["loss"] == 0.2)
        assert row["there"]["loss"] == 0.01
        assert row["preset"] is None

    on_network(tmp_path, steps)


def test_a_preset_is_named_until_a_hand_changes_it_and_the_scenarios_comes_back(tmp_path: Path) -> None:
    async def steps(network: EmulatedNetwork, fake: FakeEmulator, feed: Feed) -> None:
        row = feed.tables["links"]["alpha|bravo"]
        await network.set_link(LinkRequest("alpha", "bravo", preset="2g"))
        await until(lambda: row["preset"] == "2g")
        assert (row["there"]["rate_kbit_s"], row["back"]["rate_kbit_s"]) == (80.0, 40.0)
        assert fake.told[0]["params"]["burst"] is None
        await network.set_link(LinkRequest("alpha", "bravo", back=LinkParameters(loss=0.5)))
        await until(lambda: row["preset"] is None)
        await network.set_link(LinkRequest("alpha", "bravo", preset="scenario"))
        await until(lambda: row["preset"] == "scenario")
        assert fake.params["bravo", "alpha"]["rate_kbit_s"] == 1000.0
        with pytest.raises(MusterError, match="no preset 'warp'; there are scenario, lan, lora"):
            await network.set_link(LinkRequest("alpha", "bravo", preset="warp"))
        with pytest.raises(MusterError, match="no link alpha - carol"):
            await network.set_link(LinkRequest("alpha", "carol", preset="lan"))

    on_network(tmp_path, steps)


def test_a_link_that_drops_comes_back_every_time_until_it_is_told_not_to(tmp_path: Path) -> None:
    def kinds(fake: FakeEmulator) -> list[str]:
        return [told["fault"]["fault"] for told in fake.told if told["op"] == "fault"]

    async def steps(network: EmulatedNetwork, fake: FakeEmulator, feed: Feed) -> None:
        row = feed.tables["links"]["alpha|bravo"]
        # The API's least period is a second; here it is shorter so that the test is.
        await network.set_link(LinkRequest("alpha", "bravo", drop=Drop(0.06, 0.02, 0.01)))
        await until(lambda: row["drop"] is not None)
        await until(lambda: len(kinds(fake)) >= 4)
        await network.set_link(LinkRequest("bravo", "alpha", drop=None))
        await until(lambda: row["drop"] is None and row["up"])
        assert kinds(fake)[:4] == ["cut", "heal", "cut", "heal"]
        count = len(kinds(fake))
        await asyncio.sleep(0.1)
        assert len(kinds(fake)) - count <= 1  # the heal of a drop that was under way
        assert kinds(fake)[-1] == "heal"

    on_network(tmp_path, steps)


def test_faults_go_as_they_are_and_a_delayed_restart_does_not_keep_the_caller(tmp_path: Path) -> None:
    async def steps(network: EmulatedNetwork, fake: FakeEmulator, feed: Feed) -> None:
        await network.apply(Cut("alpha", "bravo"))
        assert fake.told[-1]["fault"] == {"fault": "cut", "a": "alpha", "b": "bravo", "both": True}
        await until(lambda: any(mark["kind"] == "cut" for mark in feed.tables["marks"].values()))
        with pytest.raises(MusterError, match="no node 'nobody'"):
            await network.apply(Restart("nobody"))
        await network.apply(Restart("nobody", 5.0))  # nobody waits for this one: its fault is told
        await until(lambda: any("nobody" in line["text"] for line in feed.log))

    on_network(tmp_path, steps)
