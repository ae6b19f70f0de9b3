"""A node gives others no more than its owner lets it, whatever dies and whatever its clock says."""

from __future__ import annotations

import contextlib

import planted
import pytest

from muster.simulation import faults as f
from muster.simulation.judging.check import Verdict, judge, story
from muster.simulation.schedule import Schedule, TimedFault
from muster.simulation.specs import (
    JobSpec,
    KillAtWrite,
    MachineSpec,
    TaskSpec,
    WireSpec,
    WorldFault,
    WorldSpec,
)
from muster.simulation.virtual.pipe import PathParams

LINK = PathParams(rate_bytes_s=1e6, delay_s=0.01)
LIMIT_BYTES = 120_000  # about eight rounds of 1,500 weights up and down
JOB = JobSpec("a", 5.0, 50, None, 20, 0.05, 10.0, 2, "dense32", "dense32")


def scene(*events: tuple[float, WorldFault], midnight_s: float | None = None, bug: str = "") -> Verdict:
    """Three nodes and a job of 50 rounds of 6 s; the owner of c lets others use some bytes a day."""
    nodes = tuple(MachineSpec(n, 100, 0.25, bytes_per_day=LIMIT_BYTES if n == "c" else None) for n in "abc")
    links = tuple(WireSpec(a, b, LINK) for a, b in ("ab", "bc", "ac"))
    spec = WorldSpec(1, nodes, links, TaskSpec(weights=1500), (JOB,), midnight_s=midnight_s)
    timed = tuple(TimedFault(at_s, fault) for at_s, fault in events)
    with planted.planted(bug) if bug else contextlib.nullcontext():
        return judge(Schedule(1, "giving", spec, timed, 900.0))


def refusals(verdict: Verdict) -> list[float]:
    return [at_s for at_s, who, text in verdict.story if who == "c" and "takes no part" in text]


@pytest.mark.parametrize("bug", ["", "goes_on", "never_again"])
def test_it_is_over_before_midnight_and_goes_on_after_it(bug: str) -> None:
    verdict = scene(midnight_s=150.0, bug=bug)
    assert verdict.good != bool(bug), story(verdict)
    if not bug:
        first, second = refusals(verdict)
        assert first < 150.0 < second
        again = [at_s for at_s, who, text in verdict.story if who == "c" and text.startswith("offers")]
        assert any(150.0 <= at_s < 160.0 for at_s in again)


DEATHS = ((30.0, KillAtWrite("c", 3, 1.0)), (50.0, KillAtWrite("c", 7, 1.0)), (140.0, f.Restart("c", 1.0)),
          (200.0, f.Restart("c", 1.0)))  # fmt: skip


@pytest.mark.parametrize("bug", ["", "given_forgotten"])
def test_restarts_and_deaths_at_a_write_give_nothing(bug: str) -> None:
    verdict = scene(*DEATHS, bug=bug)
    assert verdict.good != bool(bug), story(verdict)


@pytest.mark.parametrize("bug", ["", "clock_believed"])
def test_a_clock_that_is_set_gives_nothing(bug: str) -> None:
    skews = ((60.0 + 60.0 * i, f.SkewClock("c", 86_400.0 * s)) for i, s in enumerate((1, 2, -5, 400)))
    verdict = scene(*skews, bug=bug)
    assert verdict.good != bool(bug), story(verdict)
