"""`metered = true`: bytes cost money, so none goes without need."""

from __future__ import annotations

import asyncio
from typing import Any

from small_field import SmallField

from muster.errors import MusterError
from muster.job.context import Policy
from muster.job.owner.allowance import OwnerLimits
from muster.planning.codec_choice import LADDER, METERED_CODEC, sparser
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.protocol.records import Update
from muster.simulation.trainers.linear import LinearTrainer
from muster.simulation.virtual.event_loop import run

METERED = {"c": Policy(owner=OwnerLimits(bytes_per_day=10**9, metered=True))}


def field(policy: dict[str, Policy]) -> SmallField:
    return SmallField("abc", policy=policy, step_s=0.5)


def codecs(nodes: SmallField, job: JobId, name: str) -> set[str]:
    found = nodes.cores["a"].ledger.load(Update.KIND, job)
    return {e.record.payload.codec for e in found if e.author == nodes.cores[name].node}  # type: ignore[union-attr]


def play(scene: Any) -> None:
    run(scene)


def test_of_two_codecs_the_sparser_one() -> None:
    assert sparser("stc:0.05", METERED_CODEC) == METERED_CODEC
    assert sparser(LADDER[0], METERED_CODEC) == LADDER[0]
    assert sparser("dense32", METERED_CODEC) == METERED_CODEC


def test_its_updates_are_sparse_where_the_job_leaves_it_to_the_nodes() -> None:
    async def scene() -> None:
        nodes = field(METERED)
        await nodes.start()
        job = nodes.ask("a", stop=StopRule(rounds=8), codec="auto")
        assert await nodes.until(lambda: nodes.round("a", job) >= 8, 300)
        assert codecs(nodes, job, "c") == {METERED_CODEC}
        assert METERED_CODEC not in codecs(nodes, job, "b")
        await nodes.close()

    play(scene())


def test_a_job_that_says_its_codec_gets_it() -> None:
    async def scene() -> None:
        nodes = field(METERED)
        await nodes.start()
        job = nodes.ask("a", stop=StopRule(rounds=3))
        assert await nodes.until(lambda: nodes.round("a", job) >= 3, 300)
        assert codecs(nodes, job, "c") == {"dense32"}
        await nodes.close()

    play(scene())


class Failing(LinearTrainer):
    """Of one node the task fails in every round, so that it is asked less and less often."""

    store: Any = None

    async def train(self, *given: Any) -> Any:
        if self._store is Failing.store:
            raise MusterError("task_fault", "its data are odd")
        return await super().train(*given)


def test_a_model_that_it_is_not_asked_to_train_on_is_not_fetched() -> None:
    async def scene(policy: dict[str, Policy]) -> None:
        nodes = SmallField("abc", Failing, policy, step_s=0.5)
        Failing.store = nodes.stores["c"]
        await nodes.start()
        job, behind = nodes.ask("a", stop=StopRule(rounds=30)), 0
        for _ in range(200):
            await asyncio.sleep(0.5)
            if (runner := nodes.cores["c"].jobs.runners.get(job)) is not None and runner.head() is not None:
                known = max(p.round for p in runner.view.graph.points.values())
                behind = max(behind, known - nodes.round("c", job))
        assert behind >= 4 if policy else behind <= 1
        assert nodes.round("c", job) == 30, "what the job came to is fetched"
        assert nodes.runner("c", job).state() == "finished"
        await nodes.close()

    play(scene({}))
    play(scene(METERED))


def test_it_goes_on_when_the_coordinator_is_gone() -> None:
    async def scene() -> None:
        nodes = SmallField("ac", policy=METERED, step_s=0.5)
        await nodes.start()
        job = nodes.ask("a", stop=StopRule(rounds=200))
        assert await nodes.until(lambda: nodes.round("c", job) >= 3, 300)
        await nodes.cores.pop("a").close()
        before = nodes.round("c", job)
        assert await nodes.until(lambda: nodes.round("c", job) > before + 2, 200)
        await nodes.close()

    play(scene())


def test_it_passes_nothing_on() -> None:
    async def scene() -> None:
        nodes = field(METERED)
        assert not nodes.cores["c"].context.relays()
        assert nodes.cores["b"].context.relays()

    play(scene())
