"""Nodes that have power and no data train in the place of a slow asker, on samples that it shares."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import numpy as np
import pytest
from small_field import SmallField, commits, model

from muster.history.credit import stood_for
from muster.job.context import EvaluationResult, Model, Policy, SharePolicy
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.simulation.trainers.linear import LinearTrainer, target_of
from muster.simulation.virtual.event_loop import run

SLOW_S, FAST_S = 0.8, 0.1
ROUNDS, STEPS = 8, 10


def field_of(names: str, helpers: str, *, shares: str = "samples", **given: Any) -> SmallField:
    """a is slow; `helpers` are fast and have no data."""
    speeds = {name: SLOW_S if name == "a" else FAST_S for name in names}
    policies = {"a": Policy(share=SharePolicy(shares))}
    return SmallField(
        names,
        policy=policies,
        **{"step_s": speeds, "samples": dict.fromkeys(helpers, 0), "common": False} | given,
    )


def ask(field: SmallField, share: str = "auto", rounds: int = ROUNDS) -> JobId:
    return field.ask("a", stop=StopRule(rounds=rounds), share=share, steps=STEPS)


def ended(field: SmallField, name: str, job: JobId) -> bool:
    return field.runner(name, job).state() == "finished"


def authors(field: SmallField, job: JobId, name: str = "a") -> list[set[str]]:
    """Whose updates each commit counts, the first one first."""
    names = {core.node: n for n, core in field.cores.items()}
    return [{names[f.node] for f in commit.folded} for commit in commits(field, name, job)][::-1]


def off(found: np.ndarray, *numbers: int) -> float:
    mean = np.mean([target_of(n, 40) for n in numbers], axis=0)
    return float(np.linalg.norm(found - mean) / np.linalg.norm(mean))


async def done(field: SmallField, job: JobId) -> float:
    """Seconds until the job was over."""
    began_s = asyncio.get_running_loop().time()
    assert await field.until(lambda: ended(field, "a", job), 2000.0)
    return asyncio.get_running_loop().time() - began_s


@pytest.mark.parametrize("helpers", ["b", "bcd"])
def test_nodes_without_data_train_in_the_place_of_a_slow_asker(helpers: str) -> None:
    async def main() -> None:
        field = field_of("a" + helpers, helpers)
        await field.start()
        job = ask(field)
        took_s = await done(field, job)
        assert took_s < 0.5 * ROUNDS * STEPS * SLOW_S
        assert authors(field, job) == [set(helpers)] * ROUNDS
        a = field.cores["a"].node
        for commit in commits(field, "a", job):
            assert set(stood_for(commit).values()) == {(a,)}
            assert sum(f.weight for f in commit.folded) == pytest.approx(1.0, abs=1e-6)
        assert off(model(field, "a", job), 0) < 0.01
        spent = {s.node: s for s in next(commits(field, "a", job)).spent}
        assert a not in spent or spent[a].steps == 0
        assert spent[a].bytes == len(target_of(0, 40).tobytes())  # the samples, once
        assert any("times as soon as the asker" in text for text in field.said("a"))
        assert any(text.startswith("offers help") for text in field.said("b"))
        await field.close()

    run(main(), until_s=36_000)


def test_others_with_data_go_on_beside_helpers_and_weigh_as_ever() -> None:
    async def main() -> None:
        field = field_of("abcd", "cd", samples={"b": 150, "c": 0, "d": 0})
        await field.start()
        job = ask(field)
        await done(field, job)
        found = authors(field, job)
        assert found.count(set("bcd")) >= ROUNDS - 1
        names = {core.node: n for n, core in field.cores.items()}
        for commit in commits(field, "a", job):
            weights = {names[f.node]: f.weight for f in commit.folded}
            if set(weights) == set("bcd"):  # 150 samples of b, 50 of a in two halves
                assert weights["b"] == pytest.approx(0.75, abs=1e-6)
                assert weights["c"] == pytest.approx(0.125, abs=1e-6)
        await field.close()

    run(main(), until_s=36_000)


@pytest.mark.parametrize(
    ("given", "share", "why"),
    [
        ({"shares": "none"}, "auto", "the owner of a lets no samples leave it"),
        ({}, "none", "the job asks for no samples of a"),
        ({"step_s": {"a": 0.1, "b": 0.1}}, "auto", "help does not pay"),
        ({"step_s": {"a": 0.002, "b": 0.001}}, "auto", "help does not pay"),
    ],
)
def test_where_help_is_not_to_be_had_or_does_not_pay_the_job_says_so_once_and_goes_on_alone(
    given: dict[str, Any], share: str, why: str
) -> None:
    async def main() -> None:
        field = field_of("ab", "b", **given)
        await field.start()
        job = ask(field, share, 60)
        await field.until(lambda: len(list(commits(field, "a", job))) >= 3, 300.0)
        await asyncio.sleep(10.0)
        assert any(why in text for text in field.runner("a", job).waits()) or ended(field, "a", job)
        await done(field, job)
        assert authors(field, job) == [{"a"}] * 60
        plans = [text for text in field.said("a") if "without helpers" in text]
        assert len(plans) == 1
        assert why in plans[0]
        said = [text for text in field.said("a") if text.startswith("goes on without the help of b")]
        assert len(said) <= 1
        assert await field.until(lambda: ended(field, "b", job), 60.0)
        await field.close()

    run(main(), until_s=36_000)


def test_help_that_turns_out_to_be_slow_is_not_asked_for_again() -> None:
    """The way to the helper takes far longer than anybody could know."""

    async def main() -> None:
        field = field_of("ab", "b")
        a, b = field.cores["a"].node, field.cores["b"].node
        await field.start()
        job = ask(field, rounds=30)
        assert await field.until(lambda: len(authors(field, job)) >= 2, 300.0)
        field.network.set(a, b, dataclasses.replace(field.network.params(a, b), delay_s=4.0))
        await done(field, job)
        found = authors(field, job)
        assert {"b"} in found[:3]
        assert found[-10:].count({"a"}) >= 8
        assert any("help does not pay" in text for text in field.said("a"))
        await field.close()

    run(main(), until_s=36_000)


def test_when_the_asker_vanishes_its_helpers_go_on() -> None:
    async def main() -> None:
        field = field_of("abc", "bc", step_s={"a": 8.0, "b": 1.0, "c": 1.0})
        await field.start()
        job = ask(field)
        assert await field.until(lambda: len(authors(field, job)) >= 2, 300.0)
        field.network.isolate(field.cores["a"].node)
        assert await field.until(lambda: ended(field, "b", job), 600.0)
        assert {n for found in authors(field, job, "b") for n in found} <= set("bc")
        assert off(model(field, "b", job), 0) < 0.01
        field.network.rejoin(field.cores["a"].node)
        assert await field.until(lambda: ended(field, "a", job), 600.0)
        await field.close()

    run(main(), until_s=36_000)


def test_when_its_only_helper_vanishes_the_asker_goes_on_alone() -> None:
    async def main() -> None:
        field = field_of("ab", "b", step_s={"a": 1.0, "b": 0.1})
        await field.start()
        job = ask(field)
        assert await field.until(lambda: len(authors(field, job)) >= 2, 300.0)
        field.network.isolate(field.cores["b"].node)
        assert await field.until(lambda: ended(field, "a", job), 600.0)
        assert authors(field, job)[-1] == {"a"}
        await field.close()

    run(main(), until_s=36_000)


def test_nodes_without_data_alone_wait_for_one_that_has_some() -> None:
    async def main() -> None:
        field = field_of("ab", "ab")
        await field.start()
        job = ask(field)
        await asyncio.sleep(60.0)
        assert any("waits for a node that has data" in text for text in field.runner("a", job).waits())
        assert not authors(field, job)
        await field.close()

    run(main(), until_s=36_000)


class SlowlyMeasuring(LinearTrainer):
    """Its evaluation takes as long as ten steps."""

    async def evaluate(self, model: Model, which: str, limit: int | None = None) -> EvaluationResult:
        await asyncio.sleep(10 * self._pace.step_s)
        return await super().evaluate(model, which, limit)


def test_the_fastest_helper_measures_for_a_slow_asker() -> None:
    async def main() -> None:
        speeds = {"a": 0.8, "b": 0.2, "c": 0.1}
        field = field_of("abc", "bc", common=True, step_s=speeds, kind=SlowlyMeasuring)
        await field.start()
        job = ask(field)
        await done(field, job)
        measured = field.runner("a", job).view.measurements
        fastest = field.cores["c"].node
        assert sum(fastest in by_node for by_node in measured.values()) >= ROUNDS - 2
        assert not any(field.cores["b"].node in by_node for by_node in measured.values())
        await field.close()

    run(main(), until_s=36_000)
