"""Two requests at once, of two trainers, keep their files apart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from muster.node.trainer.adapter import StoreTrainer
from muster.storage.disk import DiskStore
from muster.storage.offload import inline


class Child:
    """Writes the seed's model in two pieces, as slowly as it is told to."""

    def __init__(self, go: asyncio.Event) -> None:
        self.go = go

    async def initial(self, out: Path, seed: int, *start: object) -> None:
        out.write_bytes(bytes([seed]) * 10)
        await self.go.wait()
        with out.open("ab") as file:
            file.write(bytes([seed]) * 10)


def test_each_request_gets_the_model_of_its_own_seed(tmp_path: Path) -> None:
    async def main() -> None:
        store = DiskStore(tmp_path / "home")
        scratch = tmp_path / "home" / "scratch"
        scratch.mkdir()
        go = asyncio.Event()
        facts = cast(Any, SimpleNamespace())
        one, two = (
            StoreTrainer(cast(Any, Child(go)), facts, store, scratch, inline, lambda _: None)
            for _ in range(2)
        )
        asked = [asyncio.create_task(t.initial(seed, None)) for seed, t in ((1, one), (2, two))]
        await asyncio.sleep(0)
        go.set()
        blobs = await asyncio.gather(*asked)
        assert [store.read_blob(b) for b in blobs] == [b"\x01" * 20, b"\x02" * 20]
        assert list(scratch.iterdir()) == []
        store.close()

    asyncio.run(main())


def test_what_a_file_had_of_this_nodes_own_is_the_next_jobs(tmp_path: Path) -> None:
    class Starting(Child):
        async def initial(self, out: Path, seed: int, *start: Any) -> None:
            if own := start[-1]:
                own.write_bytes(b"own")
            out.write_bytes(b"model")

    async def main() -> None:
        scratch = tmp_path / "scratch"
        store = DiskStore(tmp_path / "store")
        scratch.mkdir()
        child = cast(Any, Starting(asyncio.Event()))
        trainer = StoreTrainer(child, cast(Any, SimpleNamespace()), store, scratch, inline, lambda _: None)
        await trainer.initial(0, None)
        trainer.begin_own(b"\x00")
        await trainer.initial(0, tmp_path / "file")
        trainer.begin_own(b"\x01")
        trainer.begin_own(b"\x02")
        assert [path.name for path in (tmp_path / "local").iterdir()] == ["01.pt"]
        assert (tmp_path / "local" / "01.pt").read_bytes() == b"own"
        assert list(scratch.iterdir()) == []
        store.close()

    asyncio.run(main())
