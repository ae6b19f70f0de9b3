"""A job for nodes with a like need: who trains in it, until when, and what it ends with."""

from __future__ import annotations

import asyncio

import numpy as np
from msgspec.structs import replace
from small_field import LAYOUT, SmallField, commits, model

from muster.compression.tensors import unpack
from muster.job.adapting.ending import unneeded
from muster.job.context import Policy
from muster.node.api.snapshot_builder import job_view
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.protocol.records import Commit, Need
from muster.simulation.trainers.linear import facts_of
from muster.simulation.virtual.event_loop import run


def sketch(value: float) -> bytes:
    return np.full(12, value, "<f2").tobytes()


NEAR, NEAR_TOO, FAR = sketch(1.0), sketch(1.3), sketch(3.0)
FINGERPRINT = facts_of(LAYOUT, 50, True).fingerprint
NEED = Need("linear", FINGERPRINT, 0, 0, 1, NEAR, 100, 30, 20)


def needs(field: SmallField, **sketches: bytes) -> None:
    for name, value in sketches.items():
        field.cores[name].field.publish(replace(NEED, sketch=value))


def trained(field: SmallField, at: str, job: JobId) -> set[str]:
    """Names of the nodes whose updates a node's head counts."""
    names = {core.node: name for name, core in field.cores.items()}
    return {names[f.node] for commit in commits(field, at, job) for f in commit.folded}


def over(field: SmallField, names: str, job: JobId) -> bool:
    runners = [field.cores[n].jobs.runners.get(job) for n in names]
    return all(r is not None and r.state() == "finished" for r in runners)


def test_who_has_a_like_need_trains_and_nobody_else() -> None:
    async def main() -> None:
        never = {"f": Policy(adapt=False)}
        field = SmallField("abcdefg", policy=never)
        await field.start()
        needs(field, a=NEAR, b=NEAR_TOO, c=FAR, f=NEAR)
        field.cores["e"].field.publish(replace(NEED, sketch_samples=39))
        field.cores["g"].field.publish(replace(NEED, fingerprint=bytes(32)))
        await asyncio.sleep(5)
        job = field.ask("a", like=NEAR)
        assert await field.until(lambda: over(field, "ab", job), 300)
        assert trained(field, "a", job) == {"a", "b"}
        runner = field.runner("a", job)
        assert job_view(field.cores["a"], runner, None).adapts_for == ["a", "b"]
        assert any("asks nodes with a like need to adapt linear" in text for text in field.said("d"))
        reasons = {field.cores[n].node: n for n in field.cores}
        assert {reasons[n]: why for n, why in runner.view.refusals.items()} == {
            "c": "not concerned: conditions changed differently here",
            "d": "not concerned: no need of its own",
            "e": "not concerned: its sketch is of fewer than 40 samples",
            "f": "this node's policy is to take part in no job that adapts a model",
            "g": "not concerned: its need is of another version of the task",
        }
        await field.close()

    run(main(), until_s=2_000)


def test_others_jobs_are_for_all() -> None:
    async def main() -> None:
        field = SmallField("ab", policy=Policy(adapt=False))
        await field.start()
        job = field.ask("a", min_nodes=2)
        assert await field.until(lambda: over(field, "ab", job), 300)
        assert job_view(field.cores["a"], field.runner("a", job), None).adapts_for is None
        assert trained(field, "a", job) == {"a", "b"}
        await field.close()

    run(main(), until_s=2_000)


def test_a_need_that_comes_later_joins() -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        needs(field, a=NEAR, b=FAR)
        job = field.ask("a", like=NEAR, stop=StopRule(rounds=40))
        assert await field.until(lambda: field.round("a", job) >= 3, 100)
        assert len(field.runner("a", job).view.refusals) == 2
        needs(field, c=NEAR_TOO)
        assert await field.until(lambda: over(field, "ac", job), 600)
        assert trained(field, "a", job) == {"a", "c"}
        await field.close()

    run(main(), until_s=2_000)


def test_a_node_that_takes_part_stays_although_its_sketch_moves_and_leaves_when_its_need_is_met() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        needs(field, a=NEAR, b=NEAR_TOO)
        job = field.ask("a", like=NEAR, stop=StopRule(rounds=200))
        b = field.cores["b"]
        assert await field.until(lambda: field.round("a", job) > 0 and "b" in trained(field, "a", job), 100)
        b.field.publish(replace(NEED, sketch=FAR))
        round_ = field.round("a", job)
        assert await field.until(lambda: field.round("a", job) >= round_ + 9, 300)
        assert b.node in {f.node for f in next(commits(field, "a", job)).folded}
        b.field.publish(replace(NEED, sketch=FAR, over=True))
        assert await field.until(lambda: b.node in field.runner("a", job).view.refusals, 100)
        await asyncio.sleep(5)
        round_ = field.round("a", job)
        assert await field.until(lambda: field.round("a", job) >= round_ + 3, 300)
        assert b.node not in {f.node for f in next(commits(field, "a", job)).folded}
        assert field.runner("b", job).error == "not concerned: its need is met"
        await field.close()

    run(main(), until_s=2_000)


def test_it_ends_everywhere_when_nobody_needs_it_any_more() -> None:
    async def main() -> None:
        field = SmallField("abcd")
        await field.start()
        needs(field, a=NEAR, b=NEAR_TOO)
        job = field.ask("a", like=NEAR, stop=StopRule(rounds=2000), average=3)
        assert await field.until(lambda: trained(field, "a", job) == {"a", "b"}, 100)
        field.cores["a"].field.publish(replace(NEED, over=True))
        await asyncio.sleep(20)
        assert not any(field.runner(n, job).finished() for n in "abcd"), "b needs it yet"
        round_ = field.round("b", job)
        field.cores["b"].field.publish(replace(NEED, fingerprint=bytes(32)))  # its model is another by now
        assert await field.until(lambda: over(field, "abcd", job), 100)
        assert field.round("b", job) >= round_ > 0
        for name in "abcd":
            runner = field.runner(name, job)
            assert runner.finished() == "nobody needs it any more"
            assert runner.rests()
            shown = job_view(field.cores[name], runner, None)
            assert (shown.state, shown.why, shown.error) == ("finished", "nobody needs it any more", None)
            assert any(t == "the job is over: nobody needs it any more" for t in field.said(name))
        await field.close()

    run(main(), until_s=2_000)


def test_a_job_that_nobody_needs_before_its_first_round_ends_too() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        needs(field, a=NEAR)
        field.cores["a"].field.publish(replace(NEED, over=True))
        job = field.ask("a", like=NEAR)
        assert await field.until(lambda: over(field, "ab", job), 100)
        assert field.runner("b", job).finished() == "nobody needs it any more"
        await field.close()

    run(main(), until_s=2_000)


def test_whoever_is_out_for_another_reason_still_needs_it() -> None:
    met, low = "not concerned: its need is met", "the battery is below the policy's 30%"
    a, b, c = (bytes([n]) * 32 for n in range(3))
    assert unneeded(a, [a, b], {a: met, b: met, c: low})
    assert not unneeded(a, [a, b], {a: met})
    assert not unneeded(a, [a, b], {a: met, b: low})
    assert not unneeded(a, [b], {b: met}), "the asker has not answered yet"


def test_a_lone_node_trains_by_itself() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        needs(field, a=NEAR)
        job = field.ask("a", like=NEAR)
        assert await field.until(lambda: over(field, "a", job), 300)
        assert trained(field, "a", job) == {"a"}
        await field.close()

    run(main(), until_s=2_000)


def test_it_closes_with_the_mean_of_its_last_models_at_once() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        needs(field, a=NEAR, b=NEAR_TOO)
        job = field.ask("a", like=NEAR, stop=StopRule(rounds=6), average=3, patience_s=50.0)
        store = field.cores["a"].store
        rounds: dict[int, np.ndarray] = {}

        def look() -> bool:
            runner = field.cores["a"].jobs.runners.get(job)
            for point in runner.view.graph.points.values() if runner is not None else ():
                record = point.record
                if isinstance(record, Commit) and record.folded and store.has_blob(record.params):
                    rounds[point.round] = np.asarray(unpack(LAYOUT, store.read_blob(record.params))["w"])
            return over(field, "ab", job)

        began_s = asyncio.get_running_loop().time()
        assert await field.until(look, 300)
        assert asyncio.get_running_loop().time() - began_s < 40, "nobody waits a patience for figures"
        expected = np.mean([rounds[r] for r in (4, 5, 6)], axis=0)
        for name in "ab":
            np.testing.assert_allclose(model(field, name, job), expected, rtol=1e-6)
        await field.close()

    run(main(), until_s=2_000)


def test_the_asker_is_killed_and_another_like_node_goes_on_to_the_end() -> None:
    async def main() -> None:
        field = SmallField("abcd")
        await field.start()
        needs(field, a=NEAR, b=NEAR_TOO, c=NEAR)
        job = field.ask("a", like=NEAR, stop=StopRule(rounds=30), average=3)
        assert await field.until(lambda: field.round("b", job) >= 5, 100)
        await field.cores["a"].close()
        assert await field.until(lambda: over(field, "bc", job), 900)
        head = field.runner("b", job).head()
        assert head is not None
        assert head.author in {field.cores[n].node for n in "bc"}
        assert trained(field, "b", job) == {"a", "b", "c"}
        assert field.runner("d", job).error == "not concerned: no need of its own"
        for name in "bcd":
            await field.cores[name].close()

    run(main(), until_s=3_000)


def test_behind_a_cut_bridge_both_sides_go_on_and_merge() -> None:
    async def main() -> None:
        names = "abcd"
        field = SmallField(names)
        await field.start()
        needs(field, a=NEAR, b=NEAR_TOO, c=NEAR, d=NEAR_TOO)
        job = field.ask("a", like=NEAR, stop=StopRule(rounds=60))
        assert await field.until(lambda: field.round("d", job) >= 4, 100)
        bridges = [(field.cores[x].node, field.cores[y].node) for x in "ab" for y in "cd"]
        for bridge in bridges:
            field.network.cut(*bridge)
        heads = {n: field.round(n, job) for n in names}
        assert await field.until(lambda: all(field.round(n, job) >= heads[n] + 6 for n in names), 400)
        for bridge in bridges:
            field.network.heal(*bridge)
        assert await field.until(lambda: over(field, names, job), 1500)
        graph = field.runner("a", job).view.graph
        assert any(point.is_merge for point in graph.points.values())
        ends = [field.runner(n, job).head() for n in names]
        assert len({h.id for h in ends if h is not None}) == 1
        counted = {r.node for r in ends[0].counted.ranges()} if ends[0] is not None else set()
        assert counted == {field.cores[n].node for n in names}
        await field.close()

    run(main(), until_s=4_000)
