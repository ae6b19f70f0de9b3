from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

from histories import BRANCH, FIRST, ID, LAYOUT, ROOT, entry, view_of, with_params

from muster.history.graph import merge_of
from muster.job.models.job_fetcher import STALL_S, JobFetcher
from muster.job.models.store import ModelStore
from muster.job.sharing.pool import SharedPool
from muster.network.change_signal import ChangeSignal
from muster.protocol.ids import NOBODY
from muster.simulation.virtual.event_loop import run
from muster.storage.memory import MemoryStore
from muster.storage.offload import inline


def test_a_merge_without_a_layout_is_tried_again_but_not_in_place() -> None:
    """A node that comes when the job is over; it once tried for ever in one instant (seed 1002)."""
    store = MemoryStore(random.Random(1))
    root = with_params(store, None, ROOT, 0.0)
    a, b = with_params(store, root, FIRST, 1.0), with_params(store, root, BRANCH, 2.0)
    merge_id, record = merge_of(ID, a.id, b.id)
    view = view_of([root, a, b, entry(NOBODY, record)])

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transfers = SimpleNamespace(poke=lambda: None)
        context: Any = SimpleNamespace(
            store=store,
            transfers=transfers,
            now=loop.time,
            changes=ChangeSignal(),
            offload=inline,
            compute=lambda size_bytes: inline,
        )
        models = ModelStore(context, view)
        fetcher = JobFetcher(context, view, models, SharedPool(context, view, models))
        tries = 0
        while loop.time() < 60.0:
            tries += 1
            assert tries < 20
            fetcher.fetch_heads()
            await context.changes.wait(STALL_S)
        assert not models.held(merge_id)
        models.learn_layout(LAYOUT)
        fetcher.fetch_heads()
        await context.changes.wait(STALL_S)
        assert [h.id for h in models.heads()] == [merge_id]
        assert loop.time() < 70.0
        await fetcher.close()

    run(main(), until_s=100.0)
