"""Work on models in a process of its own: it gives what a thread gives, and may die."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.structure import Structure
from muster.compression.codec import CodecError
from muster.compression.codecs.families import parse
from muster.compression.model import encode_update
from muster.compression.tensor_file import TensorFile
from muster.compression.tensors import Layout, TensorSpec, pack
from muster.history.counted import Key
from muster.job.models.downlink import make_downlink
from muster.job.models.folding import RoundContext
from muster.job.models.stored import Reader, stage_arrays
from muster.job.uncounted import KnownUpdate
from muster.node.worker.process import LARGE_MODEL_BYTES, ModelWorker, WorkerDied
from muster.protocol.ids import BlobId
from muster.protocol.parts import Payload, Recipe
from muster.protocol.records import Update
from muster.storage.disk import DiskStore
from muster.storage.offload import inline
from muster.storage.store import Blobs, StagedBlob

LAYOUT = Layout((TensorSpec("w", (300, 40), "float32"), TensorSpec("b", (40,), "float32")))
DATA = bytes(range(256)) * 40 + bytes(10_240)


@pytest.fixture(autouse=True)
def _found_by_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions of this file are called there."""
    folders = (str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))


def fail_with(error: Exception) -> None:
    raise error


def own_pid() -> int:
    return os.getpid()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        die()
    return "the second time"


def halves(blobs: Blobs, blob: BlobId) -> list[StagedBlob]:
    whole = blobs.read_blob(blob)
    assert isinstance(whole, memoryview)
    middle = len(whole) // 2
    return [blobs.stage((whole[:middle],)), blobs.stage((whole[middle:],))]


def with_worker(scene: Callable[[ModelWorker], Coroutine[Any, Any, None]], idle_s: float = 60.0) -> None:
    async def main() -> None:
        worker = ModelWorker(inline, idle_s)
        try:
            await scene(worker)
        finally:
            worker.close()

    asyncio.run(main())


def test_a_call_gives_what_it_gives_and_raises_what_it_raises() -> None:
    async def scene(worker: ModelWorker) -> None:
        pid = await worker(own_pid)
        assert pid == worker.pid != os.getpid()
        with pytest.raises(CodecError, match="no message"):
            await worker(fail_with, CodecError("no message"))
        with pytest.raises(KeyError):
            await worker(fail_with, KeyError(b"gone"))
        assert await worker(own_pid) == pid  # the same process

    with_worker(scene)


def test_small_models_stay_in_threads() -> None:
    async def scene(worker: ModelWorker) -> None:
        assert await worker.for_model(LARGE_MODEL_BYTES - 1)(own_pid) == os.getpid()
        assert worker.pid is None
        assert await worker.for_model(LARGE_MODEL_BYTES)(own_pid) == worker.pid

    with_worker(scene)


def test_a_worker_that_died_is_started_again_and_asked_once_more(tmp_path: Path) -> None:
    async def scene(worker: ModelWorker) -> None:
        assert await worker(die_once, tmp_path / "marker") == "the second time"
        with pytest.raises(WorkerDied):
            await worker(die)
        assert await worker(own_pid) == worker.pid

    with_worker(scene)


def test_a_worker_without_work_ends() -> None:
    async def scene(worker: ModelWorker) -> None:
        pid = await worker(own_pid)
        while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
            await asyncio.sleep(0.01)
        assert await worker(own_pid) != pid

    with_worker(scene, idle_s=0.01)


def test_a_worker_ends_with_its_daemon() -> None:
    async def scene(worker: ModelWorker) -> None:
        pid = await worker(own_pid)
        process = worker._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()  # as the kernel does it when the daemon is killed
        assert process.wait(60) == 0
        assert pid is not None

    with_worker(scene)


def test_a_store_goes_as_its_blobs_and_staged_files_come_back(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    blob = store.put_blob(DATA)

    async def scene(worker: ModelWorker) -> None:
        made = await worker(halves, store, blob)
        assert len(list((tmp_path / "staged").iterdir())) == 2
        with store.transaction():
            first = store.put_staged(made[0])
        assert store.read_blob(first) == DATA[: len(DATA) // 2]
        del made
        while list((tmp_path / "staged").iterdir()):  # until the thread that waited lets go of it, too
            await asyncio.sleep(0.001)
        with pytest.raises(KeyError):
            await worker(halves, store, bytes(32))

    with_worker(scene)
    store.close()


def test_a_tensor_file_is_mapped_in_both_and_deleted_by_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "update.bin"
    arrays = {"w": np.full((300, 40), 0.5, np.float32), "b": np.arange(40, dtype=np.float32)}
    path.write_bytes(pack(LAYOUT, arrays))
    owners = [TensorFile(LAYOUT, path)]

    async def scene(worker: ModelWorker) -> None:
        assert await worker(total, owners[0]) == 6000 + 780
        assert path.exists()

    with_worker(scene)
    assert list(owners[0]) == ["w", "b"]
    assert total(owners[0]) == 6000 + 780
    owners.clear()
    assert not path.exists()


def total(arrays: Any) -> float:
    return float(sum(array.sum() for array in arrays.values()))


@pytest.mark.parametrize("codec", ["quant8", "stc:0.05"])
def test_a_round_folded_in_the_worker_has_the_same_bits(tmp_path: Path, codec: str) -> None:
    """What a thread and the worker make of one round is the same: model, delta, residual, weights."""
    store = DiskStore(tmp_path)
    rng = np.random.default_rng(4)

    def model() -> dict[str, Any]:
        return {s.name: rng.normal(size=s.shape).astype(np.float32) for s in LAYOUT.tensors}

    base = store.put_staged(stage_arrays(store, LAYOUT, model()))
    updates = []
    for node in (b"a" * 32, b"b" * 32):
        message = encode_update(parse("stc:0.2"), LAYOUT, model(), 1)
        payload = Payload("stc:0.2", len(message), blob=store.put_blob(message))
        record = Update(b"j" * 32, b"p" * 32, 0, 1, 1, 10, 80, 0.5, payload, 0)
        updates.append(KnownUpdate(node, Key(node, 1, 1), record, b""))
    samples, shares = {u.key.node: 100 for u in updates}, {u.record.base: 1.0 for u in updates}
    form = Form.of(LAYOUT, Structure(), b"")
    onto = RoundContext(
        form,
        Reader(store, LAYOUT, base),
        None,
        0,
        Recipe(0.1, 10, 4, 0),
        samples.__getitem__,
        shares.__getitem__,
        dict.fromkeys(shares, form).__getitem__,
    )
    here = make_downlink(store, b"j" * 32, onto, updates, codec, None)

    async def scene(worker: ModelWorker) -> None:
        there = await worker(make_downlink, store, b"j" * 32, onto, updates, codec, None)
        assert (there.params.blob, there.folded, there.waiting) == (
            here.params.blob,
            here.folded,
            here.waiting,
        )
        assert (there.residual and there.residual.blob) == (here.residual and here.residual.blob)
        assert there.delta is not None
        assert here.delta is not None
        assert there.delta.message == here.delta.message

    with_worker(scene)
    store.close()
