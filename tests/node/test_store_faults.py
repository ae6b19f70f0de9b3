"""A node that cannot start because of its disk says so, with a code of its own and the cure."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from muster.errors import MusterError
from muster.network.trust.identity import init_fleet, issue
from muster.node.config import NodeConfig
from muster.node.daemon import run_node
from muster.node.log.printer import LogOptions
from muster.storage import database as database_module
from muster.storage import files
from muster.storage.disk import DiskStore


def config(folder: Path) -> NodeConfig:
    init_fleet(folder / "fleet", "north")
    bundle = issue(folder / "fleet", "ann", folder / "ann.pem")
    return NodeConfig(name="ann", home=folder / "home", bundle=bundle, discovery=False)


def fault_at_start(given: NodeConfig) -> MusterError:
    with pytest.raises(MusterError) as caught:
        asyncio.run(run_node(given, None, LogOptions()))
    return caught.value


def test_a_damaged_store_is_named_with_its_cure(tmp_path: Path) -> None:
    given = config(tmp_path)
    store = DiskStore(given.home)
    with store.transaction():
        for n in range(400):
            store.add(n.to_bytes(32, "big"), "member", b"", bytes(500), b"")
    store.close()
    path = given.home / "store.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 * 3 :] = os.urandom(len(data) - 4096 * 3)  # all but the schema
    path.write_bytes(data)
    error = fault_at_start(given)
    assert (error.code, error.exit_code) == ("home", 12)
    assert "is damaged" in error.sentence
    assert "start again" in error.sentence


def test_a_disk_that_is_full_at_the_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = config(tmp_path)

    def full(self: DiskStore, key: str, value: bytes | None) -> None:
        with files.guarded(given.home):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(DiskStore, "set_state", full)
    error = fault_at_start(given)
    assert (error.code, error.exit_code) == ("disk_full", 13)
    assert "free some space" in error.sentence


def test_a_database_that_finds_no_room_is_no_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = sqlite3.connect(tmp_path / "some.sqlite")
    database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.executescript("CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE c (x)")
    assert files.database_error(tmp_path, caught.value).code == "disk_full"

    def cannot_open(*args: Any, **more: Any) -> None:
        raise caught.value

    monkeypatch.setattr(database_module, "opened", cannot_open)
    with pytest.raises(MusterError, match="free some space") as refused:
        DiskStore(tmp_path / "home")
    assert refused.value.code == "disk_full"
