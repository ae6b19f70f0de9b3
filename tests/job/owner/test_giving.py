"""What a node's owner lets others use, in a job: refused with its reason, asked again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from small_field import SmallField

from muster.job.context import Policy
from muster.job.owner.allowance import OwnerLimits
from muster.job.owner.hours import parse
from muster.node.api.peer_views import left_view
from muster.node.api.rows.node_rows import Names, node_rows
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.protocol.records import Update
from muster.simulation.virtual.event_loop import run

EVENING_S = 20_000 * 86_400 + 23 * 3600 + 50 * 60.0  # 23:50
FACTS = {"version": "1", "home": "/h", "pid": 1, "listen": [], "began_t": 0.0, "tasks": []}
SECONDS = StopRule(seconds=1500.0)


def wall() -> float:
    return EVENING_S + asyncio.get_running_loop().time()


def field(limits: OwnerLimits, **changes: Any) -> SmallField:
    """Three nodes at ten to twelve; c's owner has limits. A round takes some seconds."""
    return SmallField("abc", policy={"c": Policy(owner=limits)}, wall=wall, step_s=1.0, **changes)


def refused(nodes: SmallField, job: JobId, name: str = "c", by: str = "a") -> str | None:
    runner = nodes.cores[by].jobs.runners.get(job)
    return runner.view.refusals.get(nodes.cores[name].node) if runner else None


def updates(nodes: SmallField, job: JobId, name: str) -> int:
    """Of a node's updates, those that have come to a."""
    return sum(e.author == nodes.cores[name].node for e in nodes.cores["a"].ledger.load(Update.KIND, job))


def play(scene: Coroutine[Any, Any, None]) -> None:
    run(scene)


def test_a_node_that_has_given_its_bytes_says_so_and_is_asked_again_after_midnight() -> None:
    async def scene() -> None:
        nodes = field(OwnerLimits(bytes_per_day=30_000))
        await nodes.start()
        job = nodes.ask("a", stop=SECONDS)
        assert await nodes.until(lambda: refused(nodes, job) is not None, 400)
        before, given = updates(nodes, job, "c"), nodes.cores["c"].allowance
        assert wall() < EVENING_S + 600
        assert before > 3
        assert "of today" in (refused(nodes, job) or "")
        assert (refused(nodes, job) or "").endswith("again from 00:00")
        await asyncio.sleep(60)
        assert updates(nodes, job, "c") == before
        late = nodes.runner("a", job).view
        head = nodes.runner("a", job).head()
        assert head is not None
        theirs = [key for key in late.updates if key.node == nodes.cores["c"].node]
        assert all(key in head.counted for key in theirs), "finished work is delivered"
        left = given.left().bytes
        assert left is not None
        assert 30_000 - left <= 30_000
        assert await nodes.until(lambda: refused(nodes, job) is None, 600)
        assert wall() >= EVENING_S + 600
        assert await nodes.until(lambda: updates(nodes, job, "c") > before + 2, 60)
        await nodes.close()

    play(scene())


def test_what_is_left_is_shown_on_the_node_itself_and_on_others() -> None:
    async def scene() -> None:
        nodes = field(OwnerLimits(bytes_per_day=30_000, hours=parse("23:00-24:00")))
        await nodes.start()
        job, c = nodes.ask("a", stop=SECONDS), nodes.cores["c"]
        assert await nodes.until(lambda: updates(nodes, job, "c") > 3, 60)
        mine, known = left_view(c, c.node), left_view(nodes.cores["a"], c.node)
        assert mine is not None
        assert known is not None
        assert 0 < (mine.bytes or 0) < 30_000
        assert (mine.bytes or 0) < (known.bytes or 0) <= 30_000
        assert 480 < (mine.available_s or 0) < 600
        assert mine.why == known.why == ""
        assert left_view(c, nodes.cores["b"].node) is None
        assert await nodes.until(lambda: refused(nodes, job) is not None, 400)
        mine, known = left_view(c, c.node), left_view(nodes.cores["a"], c.node)
        assert mine is not None
        assert known is not None
        assert mine.why == known.why != ""
        rows = node_rows(c, Names(c), FACTS, None, {}, lambda node, job: None)
        row = next(r["left"] for r in rows.values() if r["me"])
        assert row["why"] == mine.why
        assert row["bytes"] == (mine.bytes or 0) // 1000 * 1000
        assert 0 < row["until_t"] - asyncio.get_running_loop().time() < 600
        await nodes.close()

    play(scene())


def test_the_offer_says_what_is_left_and_says_so_again_when_half_of_that_is_gone() -> None:
    async def scene() -> None:
        nodes = field(OwnerLimits(bytes_per_day=60_000))
        await nodes.start()
        job = nodes.ask("a", stop=SECONDS)
        view, c = nodes.runner("a", job).view, nodes.cores["c"].node
        assert await nodes.until(lambda: c in view.offers, 30)
        first = view.offers[c].bytes_left
        assert first is not None
        assert 55_000 < first <= 60_000
        assert await nodes.until(lambda: (view.offers[c].bytes_left or 0) < first / 2, 300)
        assert (view.offers[c].bytes_left or 0) > 0
        assert view.offers[nodes.cores["b"].node].bytes_left is None
        await nodes.close()

    play(scene())


def test_its_own_jobs_use_what_they_want() -> None:
    async def scene() -> None:
        nodes = field(OwnerLimits(bytes_per_day=5_000, hours=parse("01:00-02:00")))
        await nodes.start()
        job = nodes.ask("c", stop=StopRule(rounds=20))
        assert await nodes.until(lambda: nodes.round("c", job) >= 20, 300)
        assert nodes.runner("c", job).view.refusals == {}
        assert nodes.cores["c"].allowance.left().bytes == 5_000
        await nodes.close()

    play(scene())


def test_when_its_hour_ends_the_node_stops_at_once_and_begins_with_the_next() -> None:
    async def scene() -> None:
        nodes = field(OwnerLimits(hours=parse("23:00-23:55, 00:02-05:00")))
        await nodes.start()
        job = nodes.ask("a", stop=SECONDS)
        view, c = nodes.runner("a", job).view, nodes.cores["c"].node
        assert await nodes.until(lambda: updates(nodes, job, "c") > 3, 60)
        available_s = view.offers[c].available_s
        assert available_s is not None
        assert 200 < available_s < 300
        assert await nodes.until(lambda: refused(nodes, job) is not None, 300)
        assert EVENING_S + 300 <= wall() < EVENING_S + 303
        said = "it works for others from 23:00 to 23:55 and 00:02 to 05:00 only; again from 00:02"
        assert refused(nodes, job) == said
        assert f"takes no part: {said}" in nodes.said("c")
        rounds = nodes.round("a", job)
        assert await nodes.until(lambda: nodes.round("a", job) > rounds + 3, 60), "nobody waits for it"
        assert await nodes.until(lambda: refused(nodes, job) is None, 600)
        assert EVENING_S + 720 <= wall() < EVENING_S + 730
        await nodes.close()

    play(scene())


def test_a_restart_gives_no_second_budget() -> None:
    async def scene() -> None:
        nodes = field(OwnerLimits(bytes_per_day=30_000))
        await nodes.start()
        job = nodes.ask("a", stop=SECONDS)
        assert await nodes.until(lambda: refused(nodes, job) is not None, 400)
        await asyncio.sleep(5)
        before = updates(nodes, job, "c")
        await nodes.cores["c"].close()
        await asyncio.sleep(5)
        nodes.cores["c"] = nodes.restart("c")
        await nodes.cores["c"].start()
        await asyncio.sleep(60)
        assert refused(nodes, job) is not None
        assert updates(nodes, job, "c") == before
        await nodes.close()

    play(scene())


def test_who_has_given_its_bytes_coordinates_nothing() -> None:
    """a asks and goes; b is next by rank, but its owner lets others use no more."""

    async def scene() -> None:
        nodes = SmallField(
            "abcd", policy={"b": Policy(owner=OwnerLimits(bytes_per_day=30_000))}, wall=wall, step_s=1.0
        )
        await nodes.start()
        job = nodes.ask("a", stop=SECONDS)
        assert await nodes.until(lambda: refused(nodes, job, "b", "c") is not None, 400)
        await nodes.cores.pop("a").close()
        rounds = nodes.round("c", job)
        assert await nodes.until(lambda: nodes.round("c", job) > rounds + 3, 100)
        assert not nodes.runner("b", job).acting
        await nodes.close()

    play(scene())


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_trainer_takes_its_share_of_the_time_in_others_jobs(share: float) -> None:
    async def scene() -> None:
        nodes = field(OwnerLimits(cpu_share=share))
        await nodes.start()
        job = nodes.ask("a", stop=SECONDS)
        view, c = nodes.runner("a", job).view, nodes.cores["c"].node
        assert await nodes.until(lambda: c in view.offers, 60)
        assert view.offers[c].step_s == pytest.approx(1.0 / share, rel=0.15)
        await nodes.close()

    play(scene())
