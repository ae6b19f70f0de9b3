"""What the page gets of models in use."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from field_world import TASK, World, in_virtual_time  # noqa: F401 (a fixture)

from muster.node.api.field_view import ServerView
from muster.node.api.rows.field_rows import field_rows
from muster.node.api.rows.node_rows import Names
from muster.node.api.rows.state_stream import Watcher
from muster.node.field.situation import Settings
from muster.simulation.virtual.event_loop import run

OWN = {
    "version": "1", "home": "/h", "pid": 1, "listen": [], "began_t": 0.0, "installed": [], "tasks": [],
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("in_virtual_time")


def test_own_and_others_models_are_rows(tmp_path: Path) -> None:
    async def main() -> None:
        world = World("ab", tmp_path, Settings(settle_s=1000.0))
        await world.start()
        for name in "ab":
            world[name].change()
            world[name].label(right=5, wrong=45)
        await asyncio.sleep(60)
        a = world["a"]
        now_s = asyncio.get_running_loop().time()
        rows = field_rows(a.field.views(), Names(a.core), now_s)
        own, other = rows[f"a/{TASK}"], rows[f"b/{TASK}"]
        assert own is not None
        assert other is not None
        assert (own["version"], own["reason"], own["need"], own["alike"]) == ("base", "first", "open", ["b"])
        assert (other["need"], other["alike"], other["labels"]) == ("open", ["a"], 50)
        assert own["waits"].startswith("the same happened to b")
        assert other["waits"] == ""
        for row in (own, other):
            assert 0 < now_s - row["since_t"] < 90
        await world.close()

    run(main(), until_s=3600)


def test_the_stream_sends_what_changed_of_them(tmp_path: Path) -> None:
    async def main() -> None:
        world = World("a", tmp_path, Settings())
        await world.start()
        a = world["a"]
        await asyncio.sleep(20)
        watcher = Watcher(a.core, lambda: OWN, a.field.views)
        assert set(watcher.look(0.0)["field"]) == {f"a/{TASK}"}
        assert "field" not in watcher.look(0.0)
        a.change()
        await asyncio.sleep(20)
        changed = watcher.look(0.0)["field"][f"a/{TASK}"]
        assert (changed["labels_wanted"], changed["epoch"]) == (20, 1)
        assert "version" not in changed
        await world.close()

    run(main(), until_s=3600)


def test_a_servers_figures_are_short(tmp_path: Path) -> None:
    async def main() -> None:
        world = World("a", tmp_path, Settings())
        await world.start()
        (view,) = world["a"].field.views()
        server = ServerView("http://x/", 7, 0, 0, 41.23456, 6.2, 77.4321, 900, "")
        seen = [msgspec.structs.replace(view, server=server)]
        row = field_rows(seen, Names(world["a"].core), 0.0)[f"a/{TASK}"]
        assert row is not None
        assert (row["server"]["rps"], row["server"]["memory_mb"]) == (41.2, 77)
        await world.close()

    run(main(), until_s=3600)
