"""Jobs whose model has a fraction of its task's channels, in virtual time."""

from __future__ import annotations

import asyncio

from small_field import LAYOUT, SmallField

from muster.compression.tensors import unpack
from muster.protocol.parts import StopRule
from muster.simulation.trainers.linear import layout_of
from muster.simulation.virtual.event_loop import run


def test_three_nodes_train_the_smaller_model_and_one_that_restarts_goes_on() -> None:
    async def scenario() -> None:
        field = SmallField("abc", step_s=0.5)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=15), min_nodes=3, width=0.5)
        while field.round("b", job) < 3:
            await asyncio.sleep(0.1)
        await field.cores["b"].close()
        field.cores["b"] = field.restart("b")
        await field.cores["b"].start()
        while any(field.round(n, job) < 15 for n in "abc"):
            await asyncio.sleep(1)
        for name in "abc":
            models, head = field.runner(name, job).models, field.runner(name, job).head()
            assert head is not None
            assert models.layout == layout_of(20)
            blob = models.blob_of(head.id)
            assert blob is not None
            unpack(layout_of(20), field.stores[name].read_blob(blob))
        points = field.runner("a", job).view.graph.points.values()
        assert any(f.node == field.cores["b"].node for p in points if p.round > 8 for f in p.folded)
        await field.close()

    run(scenario())


def test_jobs_of_two_widths_of_one_task_do_not_disturb_each_other() -> None:
    async def scenario() -> None:
        field = SmallField("ab")
        await field.start()
        jobs = {width: field.ask("a", min_nodes=2, width=width) for width in (0.25, 1.0)}
        while any(field.round("b", job) < 3 for job in jobs.values()):
            await asyncio.sleep(1)
        assert field.runner("b", jobs[0.25]).models.layout == layout_of(10)
        assert field.runner("b", jobs[1.0]).models.layout == LAYOUT
        await field.close()

    run(scenario())
