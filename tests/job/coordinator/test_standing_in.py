"""A coordinator trains in the place of a node that is away, on what that one shared, with its weight."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from small_field import SmallField, commits, model

from muster.history.credit import stood_for
from muster.job.context import Model, TrainingRequest, TrainingResult
from muster.job.models.stand_ins import REPLACED
from muster.protocol.ids import BlobId, JobId
from muster.protocol.parts import Payload, StopRule
from muster.protocol.records import Shared
from muster.simulation.trainers.linear import LinearTrainer, target_of
from muster.simulation.virtual.event_loop import run

SAMPLES = 50  # that each node of the field offers


def shares(field: SmallField, name: str, job: JobId, data: bytes | None = None) -> None:
    """The node shares what it learns towards, and everybody has it at once."""
    given = target_of(list(field.cores).index(name), 40).tobytes() if data is None else data
    for core in field.cores.values():
        blob = core.store.put_blob(given)
    payload = Payload("coreset", len(given), blob=blob)
    core = field.cores[name]
    core.ledger.publish(Shared(job, core.store.incarnation, 1, "samples", 20, SAMPLES, payload))


def mean_of(*numbers: int) -> np.ndarray:
    return np.mean([target_of(n, 40) for n in numbers], axis=0)


async def met_once(
    share: str, rounds: int = 20, data: bytes | None = None, kind: type[LinearTrainer] = LinearTrainer
) -> tuple[SmallField, JobId]:
    """c offers and shares, and is never heard of again."""
    field = SmallField("abc", kind, step_s=0.5, common=False)
    await field.start()
    job = field.ask("a", stop=StopRule(rounds=rounds), share=share)
    assert await field.until(lambda: field.cores["c"].node in field.runner("a", job).view.offers, 60.0)
    shares(field, "c", job, data)
    await asyncio.sleep(2.0)
    field.network.isolate(field.cores["c"].node)
    assert await field.until(lambda: field.runner("a", job).state() == "finished", 2000.0)
    return field, job


@pytest.mark.parametrize("share", ["always", "auto", "none"])
def test_what_a_node_shared_works_in_its_place_when_it_is_away(share: str) -> None:
    async def main() -> None:
        field, job = await met_once(share)
        c = field.cores["c"].node
        of_c = [record for record in commits(field, "a", job) if (c,) in stood_for(record).values()]
        away = np.linalg.norm(model(field, "a", job) - mean_of(0, 1))
        with_c = np.linalg.norm(model(field, "a", job) - mean_of(0, 1, 2))
        if share == "none":
            assert not of_c
            assert away < with_c
        else:
            assert len(of_c) >= 10
            assert with_c < away / 4
        await field.close()

    run(main(), until_s=36_000)


def test_a_stand_in_has_the_weight_of_its_node_and_says_so() -> None:
    async def main() -> None:
        field, job = await met_once("always")
        a, c = field.cores["a"].node, field.cores["c"].node
        for record in commits(field, "a", job):
            others = stood_for(record)
            for place, nodes in others.items():
                assert nodes == (c,)
                assert record.folded[place].node == a
                assert record.folded[place].weight == pytest.approx(1 / 3, abs=1e-6)
                assert record.record.costs[place].codec == "dense32"
        said = [text for text in field.said("a") if "stand-ins for c" in text]
        assert said
        assert any("c is away: its 20 samples stand in" in text for text in field.said("a"))
        spent = {s.node: s for s in next(commits(field, "a", job)).spent}
        assert spent[a].steps > spent[field.cores["b"].node].steps  # who trained it has the work,
        assert spent[a].bytes == spent[field.cores["b"].node].bytes  # and nothing crossed its link
        await field.close()

    run(main(), until_s=36_000)


def test_a_node_that_comes_back_works_itself_again() -> None:
    async def main() -> None:
        field = SmallField("abc", step_s=0.5, common=False)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=40), share="always")
        c = field.cores["c"]
        assert await field.until(lambda: c.node in field.runner("a", job).view.offers, 60.0)
        shares(field, "c", job)
        for _ in range(4):
            await asyncio.sleep(6.0)
            field.network.isolate(c.node)
            await asyncio.sleep(15.0)
            field.network.rejoin(c.node)
        assert await field.until(lambda: field.runner("a", job).state() == "finished", 2000.0)
        itself = instead = 0
        for record in commits(field, "a", job):
            others = stood_for(record)
            own = [f.node for place, f in enumerate(record.folded) if place not in others]
            itself += c.node in own
            instead += bool(others)
            assert not (others and c.node in own)
            assert all(d.reason == REPLACED for d in record.record.discarded)
        assert itself >= 5
        assert instead >= 5
        await field.close()

    run(main(), until_s=36_000)


def test_no_round_waits_for_one_that_was_met_and_is_stood_in_for() -> None:
    """c meets d and brings what d said; until now the rounds after that waited for d until it was late."""

    async def main() -> None:
        field = SmallField("abcd", step_s=0.1, common=False)
        ids = {name: core.node for name, core in field.cores.items()}

        def move(*, away: bool) -> None:
            for camp in "ab":
                field.network.set_cut(ids[camp], ids["c"], away)
                field.network.set_cut(ids[camp], ids["d"], True)
            field.network.set_cut(ids["c"], ids["d"], not away)

        move(away=False)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=100), share="always", patience_s=60.0)
        await asyncio.sleep(5.0)
        move(away=True)
        assert await field.until(lambda: ids["d"] in field.runner("c", job).view.offers, 60.0)
        shares(field, "d", job)
        await asyncio.sleep(2.0)
        move(away=False)
        assert await field.until(lambda: field.runner("a", job).state() == "finished", 2000.0)
        line = list(commits(field, "a", job))[::-1]
        known = next(k for k, record in enumerate(line) if (ids["d"],) in stood_for(record).values())
        took_s = [b.age_s - a.age_s for a, b in itertools.pairwise(line)]
        assert max(took_s[known - 1 : known + 10]) < 2 * statistics.median(took_s)
        said = [text for text in field.said("a") if "; 4 nodes, " in text]
        assert any("d is away: its 20 samples stand in" in text for text in said), "it has work as well"
        await field.close()

    run(main(), until_s=36_000)


class SlowToStandIn(LinearTrainer):
    """Takes three times as long on shared samples as on its own data."""

    async def train(
        self, model: Model, request: TrainingRequest, progress: Callable[[float], None]
    ) -> TrainingResult:
        if request.samples:
            await asyncio.sleep(4.0)
        return await super().train(model, request, progress)


def test_a_round_has_the_stand_ins_that_it_planned_however_slow_the_trainer_is() -> None:
    """Until now it closed once the trainer's own update would have been late, and they came a round later."""

    async def main() -> None:
        field, _ = await met_once("always", kind=SlowToStandIn)
        planned = [text for text in field.said("a") if "stand in" in text and text.startswith("round ")]
        done = [text for text in field.said("a") if "committed" in text and "stand-ins for c" in text]
        assert len(planned) >= 10
        assert len(done) == len(planned)
        assert not any("late" in text for text in done)
        await field.close()

    run(main(), until_s=36_000)


class SlowToCheck(LinearTrainer):
    """Needs long to look at samples."""

    async def check_samples(self, blob: BlobId, record: Shared) -> str:
        await asyncio.sleep(10.0)
        return await super().check_samples(blob, record)


def test_a_trainer_that_is_never_at_rest_looks_at_samples_nevertheless() -> None:
    """Until now a coordinator that was started again did without stand-ins: each round stopped the look."""

    async def main() -> None:
        field = SmallField("abc", SlowToCheck, step_s={"a": 0.5, "b": 0.1, "c": 0.1}, common=False)
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=60), share="always")
        assert await field.until(lambda: field.cores["c"].node in field.runner("a", job).view.offers, 60.0)
        shares(field, "c", job)
        await asyncio.sleep(2.0)
        field.network.isolate(field.cores["c"].node)
        assert await field.until(lambda: field.round("a", job) >= 20, 200.0)
        await field.cores["a"].close()
        field.cores["a"] = field.restart("a")
        await field.cores["a"].start()
        assert await field.until(lambda: field.round("a", job) == 60, 2000.0)
        assert any("stand-ins for c" in text for text in field.said("a"))
        await field.close()

    run(main(), until_s=36_000)


def test_samples_that_no_trainer_can_use_are_given_up_and_the_job_goes_on() -> None:
    async def main() -> None:
        field, job = await met_once("always", data=b"no samples at all")
        assert any(text.startswith("the samples that c shares are refused") for text in field.said("a"))
        assert not any(record.record.stand_ins for record in commits(field, "a", job))
        assert not field.runner("a", job).view.passes
        await field.close()

    run(main(), until_s=36_000)
