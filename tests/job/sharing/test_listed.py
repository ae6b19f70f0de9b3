"""What a node shared stays listed, on the node and on the page, also when its job is out of memory."""

from __future__ import annotations

import asyncio
import random

import pytest
from small_field import SmallField

from muster.job.context import Policy, SharePolicy
from muster.job.retirement.retired import JobLimits
from muster.node.api.rows.node_rows import Names, node_rows
from muster.node.api.shared_views import shared_views
from muster.protocol.parts import StopRule
from muster.simulation.virtual.event_loop import run

FACTS = {"version": "1", "home": "/h", "pid": 1, "listen": [], "began_t": 0.0, "tasks": []}
SAMPLES = {"b": Policy(share=SharePolicy("samples"))}


def test_a_node_lists_what_it_shared_and_the_page_shows_it_of_all() -> None:
    async def main() -> None:
        field = SmallField("abc", policy=SAMPLES, step_s=0.5, wall=lambda: 1e9)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=100), share="always")
        a, b = field.cores["a"], field.cores["b"]
        assert await field.until(lambda: b.node in field.ready("a", job), 60)
        [view] = shared_views(b)
        assert (view.job, view.task, view.asker) == (job.hex(), "linear", "a")
        assert (view.kind, view.samples, view.stands_for, view.bytes) == ("samples", 50, 50, 160)
        assert (view.bits, view.at_s, view.held) == (32, 1e9, True)
        assert shared_views(a) == shared_views(field.cores["c"]) == []
        rows = node_rows(a, Names(a), FACTS, None, {}, lambda node, job: None)
        assert rows["b"]["shared"] == [{"job": job.hex(), "kind": "samples", "samples": 50, "bytes": 160}]
        assert rows["a"]["shared"] == rows["c"]["shared"] == []
        await field.close()

    run(main(), until_s=3600)


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_it_is_listed_when_the_job_is_retired_and_its_samples_are_gone(disk: str) -> None:
    async def main() -> None:
        field = SmallField("ab", policy=SAMPLES, limits=JobLimits(at_rest=0))
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=12), share="always")
        stores, b = field.stores, field.cores["b"]
        assert await field.until(lambda: bool(shared_views(b)), 60)
        blob = field.runner("b", job).view.shared[b.node].payload.blob or b""
        if disk == "lost":
            await b.close()
            stores["b"].lose(random.Random(3))
            b = field.cores["b"] = field.restart("b")
            await b.start()
        cores = field.cores.values()
        assert await field.until(lambda: all(job in core.jobs.retired() for core in cores), 3600)
        assert not any(store.has_blob(blob) for store in stores.values())
        [view] = shared_views(b)
        assert (view.samples, view.held) == (50, False)
        await asyncio.sleep(1)
        await field.close()

    run(main(), until_s=36_000)
