"""A local set whose process is killed, whose disk is full or file damaged, and several users at once."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from file_limit import file_limit
from muster.local.database import LocalFault
from muster.local.limits import Limits
from muster.local.local_set import LocalSet
from muster.local.rows import Answered

USER = str(Path(__file__).with_name("set_user.py"))
Users = Callable[..., subprocess.Popen[str]]
LIMITS = Limits(free_bytes=0, per_second=10**9)


@pytest.fixture
def user() -> Iterator[Users]:
    """Begins processes that use a set, and ends them."""
    begun: list[subprocess.Popen[str]] = []

    def begin(path: Path, *words: object) -> subprocess.Popen[str]:
        line = [sys.executable, USER, str(path), *map(str, words)]
        begun.append(subprocess.Popen(line, stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize("confirmed", [1, 23])
def test_kill_9_loses_no_label_that_was_confirmed(tmp_path: Path, confirmed: int, user: Users) -> None:
    path = tmp_path / "a.sqlite"
    process = user(path, "label", 0, 100_000)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(confirmed)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.read().splitlines()
    process.wait()
    told = {int(line.split()[0]) for line in lines if len(line.split()) == 2}
    with LocalSet.open(path, LIMITS) as local:
        found = set(local.labelled().y.tolist())
        assert told <= found
        assert len(found) <= len(told) + 1
        local.add_labelled(np.zeros(2000, np.uint8), 77_777)


def test_several_write_and_read_at_once(tmp_path: Path, user: Users) -> None:
    path = tmp_path / "a.sqlite"
    users = [user(path, "label", 0, 60), user(path, "label", 1000, 60), user(path, "answer", 5000, 200)]
    with LocalSet.open(path, LIMITS) as local:
        while any(process.poll() is None for process in users):
            local.counts()
            local.labelled()
            local.add_verdicts([(1, "v", True)])
    for process in users:
        assert process.stdout is not None
        assert "fault" not in process.stdout.read()
        assert process.returncode == 0
    with LocalSet.open(path, LIMITS) as local:
        wanted = {*range(60), *range(1000, 1060)}
        assert set(local.labelled().y.tolist()) == wanted
        assert local.counts().unlabelled == 200


def test_threads_may_share_one(tmp_path: Path) -> None:
    with LocalSet.open(tmp_path / "a.sqlite", LIMITS) as local:

        def label(first: int) -> None:
            for i in range(first, first + 20):
                local.add_labelled(np.zeros(3), i)

        threads = [threading.Thread(target=label, args=(100 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert local.counts().labelled == 80


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own; skips where this user may not mount one."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(where)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_keeps_what_was_confirmed_and_goes_on(small_disk: Path, user: Users) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    path = small_disk / "a.sqlite"
    process = user(path, "label", 0, 100_000)
    lines = process.communicate()[0].splitlines()
    assert process.returncode == 0
    assert lines[-1].startswith("fault disk_full the disk that holds")
    told = {int(line.split()[0]) for line in lines[:-1]}
    assert len(told) > 10
    ballast.unlink()
    with LocalSet.open(path, LIMITS) as local:
        assert told <= set(local.labelled().y.tolist())
        local.add_labelled(np.zeros(3), 123_456)


def test_answers_leave_room_for_labels(tmp_path: Path) -> None:
    """Where little is free, samples without labels are not kept any more, and labels still are."""
    limits = Limits(free_bytes=1 << 60)
    with LocalSet.open(tmp_path / "a.sqlite", limits) as local:
        with pytest.raises(LocalFault, match="almost full, so samples without labels are not kept") as caught:
            local.add_answers([Answered("a", np.zeros(3), 1, None, "v")])
        assert caught.value.code == "disk_full"
        local.add_labelled(np.zeros(3), 4)
        assert local.labelled().y.tolist() == [4]


def test_a_write_that_fails_changes_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    with LocalSet.open(tmp_path / "a.sqlite", LIMITS) as local:
        ids = [local.add_labelled(np.full(3, i), i) for i in range(5)]
        with file_limit(1), pytest.raises(LocalFault, match="cannot be kept"):
            local.add_labelled(np.full(3, 9), 9)
        assert local.labelled().ids == tuple(ids)
        local.add_labelled(np.full(3, 6), 6)
        assert local.labelled().y.tolist() == [0, 1, 2, 3, 4, 6]


def filled(path: Path) -> dict[int, int]:
    """id -> label of 300 labelled samples in some pages each, closed."""
    with LocalSet.open(path, LIMITS) as local:
        noise = np.random.default_rng(1)
        local.alarm(8.0, "test")
        ids = local.add_answers(
            [
                Answered(f"k{i}", noise.integers(0, 255, 3000).astype(np.uint8), i % 4, 0.1, "v")
                for i in range(300)
            ]
        )
        return {id_: i % 4 for i, id_ in enumerate(ids) if id_ and local.label(id_, i % 4)}


@pytest.mark.parametrize("place", ["a page in the middle", "the tree's root", "many pages"])
def test_of_a_damaged_file_what_can_be_read_is_kept(tmp_path: Path, place: str) -> None:
    path = tmp_path / "a.sqlite"
    labels = filled(path)
    size = path.stat().st_size
    pages = {"a page in the middle": [size // 8192 * 4096], "many pages": range(20 * 4096, size, 29 * 4096)}
    with sqlite3.connect(path) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'labelled'").fetchone()[0]
    db.close()
    with path.open("r+b") as file:
        for at in pages.get(place, [(root - 1) * 4096]):
            file.seek(at)
            file.write(os.urandom(4096))
    with LocalSet.open(path, LIMITS) as local:
        local.labelled()
        new = local.add_labelled(np.zeros(3000, np.uint8), 9)
        found = local.labelled()
        kept = dict(zip(found.ids, found.y.tolist(), strict=True))
        assert new in kept
        assert local.counts().epoch == 1
        wrong = {i for i in kept if i in labels and kept[i] != labels[i]}
        assert not wrong
        assert len(kept) > 0.8 * len(labels)
    reason = (tmp_path / "a.sqlite.damaged.txt").read_text()
    assert "was damaged" in reason
    assert "labelled samples of it were saved" in reason
    assert (tmp_path / "a.sqlite.damaged").exists()


@pytest.mark.parametrize("what", ["text", "half of it"])
def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.sqlite"
    filled(path)
    whole = path.read_bytes()
    content = b"no database at all" * 500 if what == "text" else whole[: len(whole) // 2]
    path.write_bytes(content)
    with LocalSet.open(path, LIMITS) as local:
        local.add_labelled(np.zeros(3000, np.uint8), 9)
        assert 9 in local.labelled().y
        assert local.counts().labelled == len(local.labelled().ids)
    assert (tmp_path / "a.sqlite.damaged").read_bytes() == content


def test_who_has_a_replaced_file_open_goes_on_with_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with LocalSet.open(path, LIMITS) as one, LocalSet.open(path, LIMITS) as other:
        one.add_labelled(np.zeros(3), 1)
        other.add_labelled(np.zeros(3), 2)
        one._run(lambda db: db.execute("DROP TABLE meta"))
        with LocalSet.open(path, LIMITS) as third:  # which sets it aside
            assert sorted(third.labelled().y.tolist()) == [1, 2]
            other.add_labelled(np.zeros(3), 3)
            one.add_labelled(np.zeros(3), 4)
            assert third.labelled().y.tolist() == [1, 2, 3, 4]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "local").write_text("a file")
    with pytest.raises(LocalFault, match="cannot be kept"):
        LocalSet.open(tmp_path / "local" / "a.sqlite", LIMITS)
