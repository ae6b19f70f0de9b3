"""Following a node over its control socket: live, silent, lost, back, another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from muster.control.server import ControlServer
from muster.dashboard import source as sources
from muster.dashboard.feed import Feed
from muster.dashboard.page import header
from muster.dashboard.state_merger import StateMerger
from muster.errors import MusterError
from muster.node.api.client import SOCKET
from patience import patient_s


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SILENT_S", 0.15), ("RETRY_S", 0.01), ("LOOK_S", 0.02)):
        monkeypatch.setattr(sources, name, value)


NEW = "not asked yet"


class FakeNode:
    """Says what is put into its queue; `END` ends the connection."""

    END = "end"

    def __init__(self, home: Path, name: str) -> None:
        home.mkdir(exist_ok=True)
        self.name, self.home = name, home
        self.pieces: asyncio.Queue[Any] = asyncio.Queue()
        self._server = ControlServer(home / SOCKET, {"show": self._show}, {"watch": self._watch})

    async def __aenter__(self) -> FakeNode:
        await self._server.start()
        self.say()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    def say(self, **tables: Any) -> None:
        head = {"view": self.name, "version": "1", "tasks": [], "job": None}
        row = {"id": self.name, "name": self.name, "me": True, "state": "idle"}
        self.pieces.put_nowait({"head": head, "nodes": {self.name: row}, **tables})

    async def _watch(self, _: dict[str, Any]) -> AsyncIterator[Any]:
        while True:
            piece = await self.pieces.get()
            yield {"event": {"now_s": asyncio.get_running_loop().time(), **piece}}

    async def _show(self, arguments: dict[str, Any]) -> Any:
        raise MusterError("unknown_commit", f"no commit {arguments['commit']}")


class Watching:
    """A source on a board, running."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.feed = Feed(header("t", emulated=False))
        self.source = sources.NodeSource(StateMerger(self.feed, emulated=False), lambda: self.home)

    async def __aenter__(self) -> Watching:
        self._task = asyncio.create_task(self.source.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, state: str) -> None:
        async with asyncio.timeout(patient_s(10)):
            while (said := self.feed.header["source"])["state"] != state or said["reason"] == NEW:
                await asyncio.sleep(0.005)

    def told(self) -> list[str]:
        return [line["text"] for line in self.feed.log]


def test_a_node_is_live_silent_live_and_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with Watching(tmp_path / "a") as watching:
            await watching.until("lost")
            assert watching.told() == []  # it was never there
            async with FakeNode(tmp_path / "a", "a") as node:
                await watching.until("live")
                assert watching.feed.header["view"] == "a"
                await watching.until("silent")
                fresh_t = watching.feed.fresh_t
                assert watching.feed.header["source"]["since_t"] == fresh_t
                node.say()
                await watching.until("live")
                assert watching.feed.fresh_t > fresh_t
            await watching.until("lost")
            assert watching.feed.tables["nodes"]["a"]["name"] == "a"  # still to be read
            assert "answers again" in watching.told()[1]

    asyncio.run(main())


def test_another_node_is_followed_when_the_home_changes(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            FakeNode(tmp_path / "a", "a"),
            FakeNode(tmp_path / "b", "b"),
            Watching(tmp_path / "a") as watching,
        ):
            await watching.until("live")
            watching.home = tmp_path / "b"
            async with asyncio.timeout(patient_s(10)):
                while watching.feed.header["view"] != "b":
                    await asyncio.sleep(0.005)
            assert set(watching.feed.tables["nodes"]) == {"b"}

    asyncio.run(main())


def test_a_nodes_refusal_comes_through(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeNode(tmp_path / "a", "a"):
            watching = Watching(tmp_path / "a")
            with pytest.raises(MusterError, match="no commit 77ab"):
                await watching.source.ask("show", 5.0, commit="77ab")
        with pytest.raises(MusterError) as caught:
            await watching.source.ask("show", 5.0, commit="77ab")
        assert caught.value.code == "no_node"

    asyncio.run(main())
