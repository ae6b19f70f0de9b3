"""A job of one contact: what nodes share is trained on in one place, and the model goes back to all."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from small_field import LAYOUT, SmallField, commits, model

from muster.compression.tensors import pack
from muster.history.credit import stood_for
from muster.job.context import Model, Policy, SharePolicy, TrainingRequest
from muster.node.api.snapshot_builder import job_view
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.simulation.trainers.linear import LinearTrainer, facts_of, target_of
from muster.simulation.virtual.event_loop import run
from muster.storage.memory import MemoryStore

STEPS = 200


def field_of(names: str, sharers: str, **given: Any) -> SmallField:
    """Nodes of which some share samples, without a common evaluation set."""
    policies = {name: Policy(share=SharePolicy("samples" if name in sharers else "none")) for name in names}
    return SmallField(names, policy=policies, **({"common": False} | given))


def ask(field: SmallField, rounds: int = 1) -> JobId:
    return field.ask("a", stop=StopRule(rounds=rounds), share="always", one_shot=STEPS, down_codec="auto")


def off(found: np.ndarray, *numbers: int) -> float:
    """How far a model is from the mean of what these nodes learn towards, in parts of that."""
    mean = np.mean([target_of(n, 40) for n in numbers], axis=0)
    return float(np.linalg.norm(found - mean) / np.linalg.norm(mean))


def ended(field: SmallField, name: str, job: JobId) -> bool:
    return field.runner(name, job).state() == "finished"


def test_one_commit_of_what_all_share_and_then_the_job_is_over() -> None:
    async def main() -> None:
        field = field_of("abcd", "bcd")
        await field.start()
        job = ask(field)
        assert await field.until(lambda: all(ended(field, n, job) for n in "abcd"), 300.0)
        [commit] = commits(field, "a", job)
        nodes = sorted(core.node for core in field.cores.values())
        assert [tuple(sorted(named)) for named in stood_for(commit).values()] == [tuple(nodes)]
        [folded] = commit.folded
        assert (folded.node, folded.steps) == (field.cores["a"].node, STEPS)
        assert commit.record.delta is not None
        assert commit.record.delta.codec == "quant4"
        assert all(off(model(field, n, job), 0, 1, 2, 3) < 0.1 for n in "abcd")
        spent = {s.node: s.bytes for s in commit.spent}
        given = commit.record.delta.size_bytes + len(target_of(1, 40).tobytes())
        assert all(spent[field.cores[n].node] == given for n in "bcd")  # the samples up, the model down
        await field.close()

    run(main(), until_s=36_000)


def test_what_the_untrained_model_reached_is_not_said_of_the_first_round() -> None:
    async def main() -> None:
        field = field_of("ab", "b", common=True)
        await field.start()
        job = ask(field, rounds=2)
        seen: dict[int, list[dict[str, float]]] = {0: [], 1: [], 2: []}
        while field.round("a", job) < 2:
            view = job_view(field.cores["a"], field.runner("a", job), None)
            seen[view.round].append(view.figures)
            await asyncio.sleep(0.01)
        untrained = seen[0][-1]
        assert untrained
        assert seen[1][0] == {}
        assert untrained not in seen[1]
        await field.close()

    run(main(), until_s=36_000)


def test_the_simulated_trainer_weighs_what_it_trains_on() -> None:
    """Until now its own data counted as much as the samples of any other node."""

    async def main() -> None:
        store, mine, theirs = MemoryStore(random.Random(1)), target_of(0, 40), target_of(1, 40)
        trainer = LinearTrainer(facts_of(LAYOUT, 50, True), store, mine, 0.001, random.Random(2))
        begin = Model(store.put_blob(pack(LAYOUT, {"w": np.zeros(40, np.float32)})))
        samples = ((store.put_blob(theirs.tobytes()), 50.0),)
        request = TrainingRequest(500, 0.1, 10, 0.0, 1, samples=samples, own_weight=150.0)
        found = await trainer.train(begin, request, lambda part: None)
        np.testing.assert_allclose(found.update["w"], 0.75 * mine + 0.25 * theirs, atol=1e-3)

    run(main())


def test_a_node_that_shares_nothing_gets_the_model_all_the_same() -> None:
    async def main() -> None:
        field = field_of("abc", "b")
        await field.start()
        job = ask(field)
        assert await field.until(lambda: all(ended(field, n, job) for n in "abc"), 300.0)
        assert off(model(field, "c", job), 0, 1) < 0.15
        await field.close()

    run(main(), until_s=36_000)


def test_while_nobody_shares_the_job_says_so_and_waits() -> None:
    async def main() -> None:
        field = field_of("abc", "c")
        field.network.isolate(field.cores["c"].node)
        await field.start()
        job = ask(field)
        await asyncio.sleep(200.0)
        assert not ended(field, "a", job)
        assert any("waits for a node that shares samples" in w for w in field.runner("a", job).waits())
        field.network.rejoin(field.cores["c"].node)
        assert await field.until(lambda: ended(field, "a", job), 300.0)
        assert off(model(field, "a", job), 0, 2) < 0.15
        await field.close()

    run(main(), until_s=36_000)


def test_who_left_after_sharing_is_in_the_model() -> None:
    async def main() -> None:
        field = field_of("abc", "bc")
        await field.start()
        job = ask(field)
        view = field.runner("a", job).view
        assert await field.until(lambda: len(view.seen_samples) == 2 and len(view.offers) == 3, 60.0)
        field.network.isolate(field.cores["b"].node)
        assert await field.until(lambda: ended(field, "a", job), 60.0)  # not ten times the patience
        assert off(model(field, "a", job), 0, 1, 2) < 0.15
        await field.close()

    run(main(), until_s=36_000)


def test_rounds_after_it_are_gentle_and_a_newcomer_brings_another_pool() -> None:
    async def main() -> None:
        field = field_of("abc", "bc", step_s=0.1)
        field.network.isolate(field.cores["c"].node)
        await field.start()
        job = ask(field, 80)
        assert await field.until(lambda: len(list(commits(field, "a", job))) >= 4, 300.0)
        field.network.rejoin(field.cores["c"].node)
        assert await field.until(lambda: ended(field, "a", job), 2000.0)
        made = list(commits(field, "a", job))
        pools = [c for c in made if any(len(nodes) > 1 for nodes in stood_for(c).values())]
        assert [len(nodes) for c in pools for nodes in stood_for(c).values()] == [3, 2]
        assert 5 <= pools[0].round < 80
        assert pools[1].round == 1
        assert {n for nodes in stood_for(pools[0]).values() for n in nodes} == {
            core.node for core in field.cores.values()
        }
        assert max(c.folded[0].steps for c in made if c not in pools) <= 4
        assert off(model(field, "a", job), 0, 1, 2) < 0.2
        await field.close()

    run(main(), until_s=36_000)


def test_a_round_of_which_most_are_gone_becomes_one_of_the_pool_and_not_of_one_node_alone() -> None:
    """a's part of the usual round is here already, when d's samples come and b and c are gone."""

    async def main() -> None:
        field = field_of("abcd", "bcd", step_s={"a": 0.05, "b": 3.0, "c": 3.0, "d": 0.1})
        a, b, c, d = (field.cores[name].node for name in "abcd")
        field.network.isolate(d)
        await field.start()
        job = ask(field, 30)
        runner = field.runner("a", job)
        assert await field.until(lambda: field.round("a", job) == 1, 300.0)
        head = runner.head()
        assert head is not None
        assert await field.until(lambda: bool(list(runner.view.uncounted(head.counted))), 60.0)
        field.network.rejoin(d)
        for node in (b, c):
            field.network.isolate(node)
        assert await field.until(lambda: field.round("a", job) == 2, 300.0)
        commit = next(commits(field, "a", job))
        assert [d in nodes for nodes in stood_for(commit).values()] == [True]
        assert {f.node for f in commit.folded} == {a}
        await field.close()

    run(main(), until_s=36_000)


@pytest.mark.parametrize(("slow", "trains"), [("a", "bc"), ("b", "a")])
def test_the_node_that_is_done_first_trains(slow: str, trains: str) -> None:
    async def main() -> None:
        field = field_of("abc", "abc", step_s={"a": 0.01, "b": 0.01, "c": 0.01} | {slow: 1.0})
        await field.start()
        job = ask(field)
        assert await field.until(lambda: all(ended(field, n, job) for n in "abc"), 300.0)
        [commit] = commits(field, "a", job)
        assert commit.folded[0].node in {field.cores[name].node for name in trains}
        assert all(off(model(field, n, job), 0, 1, 2) < 0.15 for n in "abc")
        await field.close()

    run(main(), until_s=36_000)


def test_when_the_asker_dies_while_it_trains_another_one_goes_on() -> None:
    async def main() -> None:
        field = field_of("abc", "abc", step_s=0.5)
        await field.start()
        job = ask(field)
        assert await field.until(lambda: job in field.cores["b"].jobs.runners, 5.0)
        assert await field.until(lambda: bool(field.runner("b", job).view.plans), 60.0)
        await asyncio.sleep(10.0)  # of a hundred
        field.network.isolate(field.cores["a"].node)
        assert await field.until(lambda: ended(field, "b", job) and ended(field, "c", job), 600.0)
        assert off(model(field, "c", job), 1, 2) < 0.15  # what the asker holds is not to be had
        field.network.rejoin(field.cores["a"].node)  # what it finished meanwhile is merged
        assert await field.until(lambda: ended(field, "a", job), 600.0)
        await asyncio.sleep(60.0)
        heads = {runner.head().id for n in "abc" if (runner := field.runner(n, job)).head() is not None}
        assert len(heads) == 1
        assert off(model(field, "b", job), 0, 1, 2) < 0.4  # between that of all and that of two
        await field.close()

    run(main(), until_s=36_000)


def test_a_pool_that_made_the_model_worse_is_not_what_the_job_ends_with() -> None:
    async def main() -> None:
        field = field_of("ab", "b", common=True)  # of this trainer the common set is nobody's data
        await field.start()
        job = ask(field)
        assert await field.until(lambda: ended(field, "a", job), 300.0)
        assert np.array_equal(model(field, "a", job), np.zeros(40, np.float32))  # that of the beginning
        assert any("closed with the model of round 0" in text for text in field.said("a"))
        await field.close()

    run(main(), until_s=36_000)
