"""A node's view in pieces: what was told adds up to what is there, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest
from two_branches import Field

from muster.node.api.rows import node_rows
from muster.node.api.rows.schema import (
    CommitRow,
    ContributionRow,
    JobRow,
    LinkRow,
    MarkRow,
    NodeRow,
    RoundRow,
)
from muster.node.api.rows.state_stream import Watcher, watch
from muster.node.core import Core
from muster.simulation.virtual.event_loop import run

ROWS = {
    "nodes": NodeRow,
    "links": LinkRow,
    "jobs": JobRow,
    "rounds": RoundRow,
    "contributions": ContributionRow,
    "commits": CommitRow,
    "marks": MarkRow,
}
TABLES = tuple(ROWS)


def own() -> dict[str, Any]:
    return {"version": "1", "home": "/h", "pid": 1, "listen": [], "began_t": 0.0, "tasks": []}


class Reader:
    """Keeps what a watcher tells, as the page does, and every phase that a round was seen in."""

    def __init__(self, core: Core) -> None:
        self.watcher = Watcher(core, own)
        self.tables: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in TABLES}
        self.log: list[str] = []
        self.phases: set[str] = set()
        self.rows_told = 0

    def look(self) -> dict[str, Any]:
        piece = self.watcher.look(asyncio.get_running_loop().time())
        for table in TABLES:
            for key, row in piece.get(table, {}).items():
                self.rows_told += 1
                if row is None:
                    del self.tables[table][key]
                else:
                    self.tables[table].setdefault(key, {}).update(row)
        self.log += [line["text"] for line in piece.get("log", ())]
        for row in self.tables["rounds"].values():
            assert msgspec.to_builtins(msgspec.convert(row, RoundRow)) == row
            self.phases |= {node["phase"] for node in row["nodes"].values()}
        return piece


class Played:
    """The story once, with a reader at alpha from before its start and a late one."""

    def __init__(self) -> None:
        self.early: Reader
        self.late: Reader
        self.quiet: list[dict[str, Any]] = []

    async def play(self) -> None:
        field = Field()
        self.field = field
        self.early = Reader(field.alpha)

        async def looking() -> None:
            while True:
                self.early.look()
                await asyncio.sleep(0.1)

        task = asyncio.ensure_future(looking())
        self.job = (await field.play()).hex()
        task.cancel()
        for _ in range(400):  # every older commit has its turn
            self.early.look()
        self.late = Reader(field.alpha)
        self.late.look()
        self.quiet = [self.early.look() for _ in range(3)]
        for core in field.cores:
            await core.close()


@pytest.fixture(scope="module")
def played() -> Played:
    made = Played()
    with pytest.MonkeyPatch.context() as patch:
        # of the process that runs the tests: it grows and shrinks by what ran before
        patch.setattr(node_rows, "memory_bytes", lambda: 50_000_000)
        run(made.play(), until_s=36_000)
    return made


def test_what_was_told_adds_up_to_what_is_there(played: Played) -> None:
    told, there = played.early.tables, played.late.tables
    for table, kind in ROWS.items():
        for row in there[table].values():
            assert msgspec.to_builtins(msgspec.convert(row, kind)) == row  # all of its fields and no other
    for tables in (told, there):
        for job in tables["jobs"].values():
            job.pop("began_t")  # known to a second
        for row in [*tables["links"].values()]:
            row["there"].pop("bytes_s")
            row["back"].pop("bytes_s")
        for mark in tables["marks"].values():
            mark.pop("t")
    for table in TABLES:
        assert told[table] == there[table], table
    assert played.early.log == played.late.log


def test_the_history_is_all_there(played: Played) -> None:
    commits = played.late.tables["commits"]
    graph = played.field.alpha.jobs.runners[bytes.fromhex(played.job)].view.graph
    assert set(commits) == {point.hex() for point in graph.points}
    roots = [c for c in commits.values() if not c["parents"]]
    merges = [c for c in commits.values() if c["merge"]]
    assert len(roots) == 1
    assert roots[0]["bytes_total"] == 0
    assert merges
    assert all(len(c["parents"]) == 2 and c["coordinator"] is None for c in merges)
    for commit in commits.values():
        assert all(parent in commits for parent in commit["parents"])
        assert commit["counted"] >= len(commit["nodes"])
    head = commits[played.late.tables["jobs"][played.job]["head"]]
    assert head["bytes_total"] > 0
    assert set(head["figures"]) == {"accuracy", "loss"}


def test_branches_and_hand_overs_are_marked(played: Played) -> None:
    kinds = [mark["kind"] for mark in played.late.tables["marks"].values()]
    assert "merge" in kinds
    assert "handover" in kinds  # bravo, alone beyond the cut
    parents = [parent for c in played.late.tables["commits"].values() for parent in c["parents"]]
    assert len(parents) > len(set(parents))  # two histories began at one commit


def test_a_round_is_seen_in_all_its_phases(played: Played) -> None:
    assert {"train", "in"} <= played.early.phases
    assert played.late.tables["rounds"] == {}  # the job is over


def test_who_gave_what_matches_the_history(played: Played) -> None:
    rows = {row["node"]: row for row in played.late.tables["contributions"].values()}
    assert set(rows) == {"alpha", "bravo"}
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1, abs=1e-3)
    assert all(row["steps"] == 4 * row["counted"] for row in rows.values())


def test_nodes_are_seen_with_their_offers_and_refusals(played: Played) -> None:
    nodes = played.late.tables["nodes"]
    assert set(nodes) == {"alpha", "bravo", "carol"}
    assert nodes["alpha"]["me"]
    assert nodes["alpha"]["resources"]["home"] == "/h"
    assert nodes["bravo"]["offer"]["samples"] == 50
    assert nodes["bravo"]["resources"] is None
    assert "nobody's job" in nodes["carol"]["refusal"]
    assert nodes["carol"]["heard_t"] is not None


def test_nothing_new_is_not_told(played: Played) -> None:
    for piece in played.quiet:
        assert set(piece) == {"now_s", "head"}
    # a reader that was there all the time was not told everything again and again
    assert played.early.rows_told < 40 * played.late.rows_told


def test_the_stream_speaks_at_least_every_second_and_at_once_when_there_is_news() -> None:
    async def main() -> list[float]:
        field = Field()
        await field.alpha.start()
        loop = asyncio.get_running_loop()
        times = []

        async def tell() -> None:
            await asyncio.sleep(10.5)
            field.alpha.log.add("job", "something new")

        task = asyncio.ensure_future(tell())
        async for item in watch(field.alpha, own):
            if item["event"].get("log"):
                times.append(loop.time())
            times.append(loop.time())
            if loop.time() > 14:
                break
        await task
        await field.alpha.close()
        return times

    times = run(main(), until_s=60)
    assert max(b - a for a, b in itertools.pairwise(times)) <= 1.3
    assert any(10.5 <= at <= 10.8 for at in times)
