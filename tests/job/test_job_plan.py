"""`muster plan`: what is known before asking goes into it, and what is not is said."""

from __future__ import annotations

from msgspec.structs import replace
from small_field import LAYOUT, SmallField

from muster.job.context import Policy, SharePolicy
from muster.node.api.job_plan import planned
from muster.node.api.plan_view import PlanView
from muster.protocol.parts import CLASSES, Prune, Recipe, StopRule, Target
from muster.protocol.records import Job
from muster.simulation.trainers.linear import TASK
from muster.simulation.virtual.event_loop import run

JOB = Job(
    TASK,
    bytes(32),
    Recipe(0.1, 10, 0, 0, server_momentum=None),
    StopRule(seconds=60.0),
    1,
    20.0,
    b"",
    CLASSES,
)


def plan(field: SmallField, job: Job = JOB) -> PlanView:
    return planned(field.cores["a"], job, LAYOUT, 0.02, True)


def said(found: PlanView) -> str:
    return "; ".join(found.sentences)


def test_what_jobs_before_showed_is_used() -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        before = plan(field)
        assert {n.node: n.known_by for n in before.nodes} == {
            "a": "measured here", "b": "like those known", "c": "like those known",
        }  # fmt: skip
        assert "nothing is known of 2 of the nodes" in said(before)
        assert "no job of this task was here yet" in said(before)
        assert {n.step_s for n in before.nodes} == {0.02}
        assert before.ends
        assert 54.0 < before.seconds <= 60.0
        job = field.ask("b", stop=StopRule(rounds=5))
        assert await field.until(lambda: field.round("a", job) == 5, 60.0)
        after = plan(field)
        assert {n.node: n.known_by for n in after.nodes} == {
            "a": "measured here", "b": "a job before", "c": "a job before",
        }  # fmt: skip
        assert {n.node: round(n.step_s, 3) for n in after.nodes}["b"] == 0.01
        assert "nothing is known" not in said(after)
        assert "no node says what it draws" in said(after)
        assert len(field.cores["a"].jobs.runners) == 1  # nobody was asked
        await field.close()

    run(main())


def test_a_target_alone_has_no_end_that_is_known() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        found = plan(field, replace(JOB, stop=StopRule(target=Target("accuracy", 0.9))))
        assert not found.ends
        assert "nobody can know beforehand" in said(found)
        assert len(found.rounds) == 5
        await field.close()

    run(main())


def test_nodes_out_of_reach_are_not_counted_on() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        field.network.isolate(field.cores["b"].node)
        assert await field.until(lambda: len(plan(field).nodes) == 1, 300.0)
        assert "no other node is in reach now" in said(plan(field))
        assert "samples" not in said(plan(field))
        assert "channels" not in said(plan(field))
        more = said(plan(field, replace(JOB, share="auto", share_bytes=2000, prune=Prune(0.25, 3, 6))))
        assert "shares samples, 2 kB of a node at most and once, which stand in" in more
        assert "after round 6 the model has 25 % of its channels" in more
        assert said(plan(field, replace(JOB, min_nodes=2))).startswith(
            "1 node is in reach and --min-nodes is 2"
        )
        await field.close()

    run(main())


def test_what_a_node_without_data_would_do() -> None:
    async def main() -> None:
        field = SmallField("ab", samples={"b": 0}, policy={"a": Policy(share=SharePolicy("samples"))})
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=2))
        assert await field.until(lambda: field.round("a", job) == 2, 60.0)
        shared = replace(JOB, share="auto")
        slow = planned(field.cores["a"], shared, LAYOUT, 0.5, True)
        assert [n.node for n in slow.nodes] == ["a"]
        assert "b has no data of its own and helps: on " in said(slow)
        assert "times as soon" in said(slow)
        assert "--share auto" in said(planned(field.cores["a"], JOB, LAYOUT, 0.5, True))
        assert "its help does not pay" in said(planned(field.cores["a"], shared, LAYOUT, 0.01, True))
        await field.close()

    run(main(), until_s=36_000)
