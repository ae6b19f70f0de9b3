"""A mule carries samples between nodes that never meet, and keeps none of them after the job."""

from __future__ import annotations

import asyncio

from small_field import SmallField

from muster.job.context import Policy, SharePolicy
from muster.protocol.parts import StopRule
from muster.protocol.records import Commit, Stop
from muster.simulation.virtual.event_loop import run

MEETS_S, BETWEEN_S = 25.0, 10.0  # a mule's time with one node, and on the way to the other


async def mule(field: SmallField) -> None:
    """b meets a and c in turn; these never meet."""
    a, b, c = (field.cores[n].node for n in "abc")
    field.network.set_cut(a, c, True)
    field.network.set_cut(b, c, True)
    while True:
        for near, far in ((c, a), (a, c)):
            field.network.set_cut(b, far, True)
            await asyncio.sleep(BETWEEN_S)
            field.network.set_cut(b, near, False)
            await asyncio.sleep(MEETS_S)


def test_a_mule_brings_samples_to_the_coordinator_and_the_end_deletes_them_everywhere() -> None:
    async def main() -> None:
        field = SmallField("abc", policy={"c": Policy(share=SharePolicy("samples"))}, step_s=0.5)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=400), share="always", patience_s=8.0)
        moving = asyncio.create_task(mule(field))
        runner, c = field.runner("a", job), field.cores["c"].node
        assert await field.until(lambda: c in field.ready("a", job), 600)
        blob = runner.view.shared[c].payload.blob or b""
        assert field.stores["b"].has_blob(blob)  # it carried them
        assert field.stores["a"].read_blob(blob) == field.stores["c"].read_blob(blob)

        def stood_in() -> bool:
            points = runner.view.graph.points.values()
            return any(isinstance(p.record, Commit) and p.record.stand_ins for p in points)

        assert await field.until(stood_in, 600)
        field.cores["a"].ledger.publish(Stop(job, "enough"))
        assert await field.until(lambda: not any(s.has_blob(blob) for s in field.stores.values()), 300)
        moving.cancel()
        await field.close()

    run(main(), until_s=36_000)


def test_samples_outlive_the_coordinator() -> None:
    async def main() -> None:
        field = SmallField("abc", policy={"c": Policy(share=SharePolicy("samples"))}, step_s=0.5)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=400), share="always", patience_s=8.0)
        c = field.cores["c"].node
        assert await field.until(lambda: c in field.ready("a", job), 100)
        assert await field.until(lambda: c in field.ready("b", job), 100)
        field.network.isolate(c)
        field.network.isolate(field.cores["a"].node)

        def stood_in_by_b() -> bool:
            me = field.cores["b"].node
            points = field.runner("b", job).view.graph.points.values()
            made = [p.record for p in points if p.author == me and isinstance(p.record, Commit)]
            return any(record.stand_ins for record in made)

        assert await field.until(stood_in_by_b, 600)
        await field.close()

    run(main(), until_s=36_000)
