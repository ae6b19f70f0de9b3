"""A node that was not there while the job ran."""

from __future__ import annotations

from muster.simulation import faults as f
from muster.simulation.check import judge, story
from muster.simulation.network import PathParams
from muster.simulation.schedule import Event, Schedule
from muster.simulation.specs import JobSpec, LinkSpec, NodeSpec, Spec, TaskSpec


def test_a_node_that_first_comes_when_the_job_is_over_computes_its_merge() -> None:
    """It has no layout before its trainer was asked; it tried again and again in one instant (seed 1002)."""
    link = PathParams(rate_bytes_s=1e6, delay_s=0.01)
    pairs = ("ab", "cd", "ac", "bd", "ae")
    nodes = [NodeSpec(n, 100, 0.25) for n in "abcd"] + [NodeSpec("e", 100, 0.25, starts_s=200.0)]
    job = JobSpec("a", 5.0, 8, None, 20, 0.05, 10.0, 2, "dense32", "dense32")
    spec = Spec(1, tuple(nodes), tuple(LinkSpec(p[0], p[1], link) for p in pairs), TaskSpec(), (job,))
    apart = f.Partition((("a", "b", "e"), ("c", "d")))  # both sides come to their end; the merge is the head
    verdict = judge(Schedule(1, "late", spec, (Event(20.0, apart), Event(120.0, f.Heal())), 300.0))
    assert verdict.good, story(verdict)
    assert verdict.merges
