"""A trainer whose update does not fit on the disk waits for room and does the work again."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest

from muster.job.context import Model, TrainingRequest
from muster.node.trainer import adapter
from muster.node.trainer.adapter import StoreTrainer
from muster.node.trainer.messages import TaskSource
from muster.storage.disk import DiskStore
from muster.storage.offload import inline

pytestmark = pytest.mark.e2e


def limit_files(pid: int, size_bytes: int | None) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))


def test_work_goes_on_when_there_is_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "ROOM_RETRY_S", 0.01)
    reported: list[str] = []

    async def main() -> None:
        store = DiskStore(tmp_path / "home")
        scratch = tmp_path / "home" / "scratch"
        scratch.mkdir()

        def report(sentence: str) -> None:
            reported.append(sentence)
            if len(reported) == 2:
                limit_files(pid, None)

        trainer = await StoreTrainer.open(TaskSource("digits", niceness=0), store, scratch, inline, report)
        try:
            blob = await trainer.initial(1, None)
            child = trainer._trainer.pid
            assert child is not None
            pid = child
            limit_files(pid, 1000)
            request = TrainingRequest(steps=2, lr=0.1, batch=8, momentum=0.0, seed=1)
            done = await trainer.train(Model(blob), request, lambda _: None)
            assert done.steps == 2
            assert len(list(scratch.iterdir())) == 1  # what was trained, as long as it is needed
            del done
            assert list(scratch.iterdir()) == []
        finally:
            await trainer.close()
            store.close()

    asyncio.run(main())
    assert reported == ["waits for room: the disk is full: free some space"] * 2
