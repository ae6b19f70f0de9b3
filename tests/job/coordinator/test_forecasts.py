"""`codec = "auto"` over simulated links: what is chosen, what was forecast, what came of it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from muster.job.coordinator.forecasts import EVERYBODY, Forecast, load
from muster.planning.codec_choice import START
from muster.protocol.records import Plan
from muster.simulation import faults as f
from muster.simulation.judging.check import play
from muster.simulation.schedule import Schedule, TimedFault
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.virtual.pipe import PathParams

ROUNDS = 8
WEIGHTS = 6000


def rounds(
    link: PathParams,
    codec: str = "auto",
    names: str = "abc",
    seconds: float | None = None,
    weights: int = WEIGHTS,
) -> list[list[Forecast]]:
    """The forecasts of each round of a job that `a` asks for, its neighbours being behind `link`.

    The simulation's own invariants are checked too: every node rebuilds the same bits.
    """
    spec = WorldSpec(
        1,
        tuple(MachineSpec(n, 100, 0.05) for n in names),
        tuple(WireSpec("a", n, link) for n in names[1:]),
        TaskSpec("linear", weights),
        (JobSpec("a", 5.0, ROUNDS, seconds, 20, 0.05, 20.0, 2, codec, codec),),
    )
    run = play(Schedule(1, "scene", spec, (), 300.0))
    assert not run.found
    world = run.world
    assert world is not None
    job = world.jobs[0].id
    assert run.rounds == ROUNDS
    return [load(world.machines["a"].disk, job, n) for n in range(1, ROUNDS + 1)]


def test_fast_links_get_light_compression_and_forecasts_hold() -> None:
    found = rounds(PathParams(rate_bytes_s=1e6, delay_s=0.005))
    assert all(len(rows) == 4 for rows in found)
    last = {row.node: row for row in found[-1]}
    assert EVERYBODY in last
    assert {row.codec for row in last.values()} == {"quant8"}
    for row in last.values():
        assert row.was_bytes == pytest.approx(row.size_bytes, rel=0.1)
        assert row.was_residual_ratio is not None
        assert row.was_residual_ratio < 0.1
        assert row.why


def test_narrow_links_get_sparse_ternary() -> None:
    found = rounds(PathParams(rate_bytes_s=1200, delay_s=0.3), seconds=3600.0)
    for rows in found:
        assert all(row.codec.startswith("stc:") for row in rows)
    last = [row for row in found[-1] if row.seconds is not None and row.was_s is not None]
    assert last
    for row in last:  # the link was measured by then
        assert row.was_s == pytest.approx(row.seconds, rel=0.5, abs=0.5)


def test_a_commit_measures_all_links_at_once() -> None:
    """One message to everybody, some rungs further up; what follows from it comes with the next samples."""
    link = PathParams(rate_bytes_s=2e5, delay_s=0.3)
    down = [rows[-1] for rows in rounds(link, seconds=3600.0, weights=60_000)]
    assert {row.node for row in down} == {EVERYBODY}
    probes = [n for n, row in enumerate(down) if row.why.startswith("a probe")]
    assert probes
    assert all(b - a > 1 for a, b in pairwise(probes))
    assert down[0].codec == START
    assert down[-1].size_bytes > 2 * down[0].size_bytes


def test_where_only_rounds_end_the_job_a_narrow_link_takes_its_time() -> None:
    for rows in rounds(PathParams(rate_bytes_s=1200, delay_s=0.3)):
        assert {row.codec for row in rows} <= {"quant4", "quant8"}


def test_a_codec_that_the_user_chose_has_its_forecast_too() -> None:
    for rows in rounds(PathParams(rate_bytes_s=1e5, delay_s=0.05), "topk:0.1"):
        assert {row.codec for row in rows} == {"topk:0.1"}
        assert {row.why for row in rows} == {"the recipe says so"}
        assert all(row.was_bytes == pytest.approx(row.size_bytes, rel=0.1) for row in rows)


def test_a_replaced_plan_forgets_nothing_of_who_was_in_the_first() -> None:
    """The slow ones are gone when the quick ones' updates are here: what these took stays on record."""
    link = PathParams(rate_bytes_s=1e5, delay_s=0.05)
    steps_s = {"a": 0.1, "b": 0.1, "c": 0.8, "d": 0.8, "e": 0.8}
    spec = WorldSpec(
        1,
        tuple(MachineSpec(n, 100, s) for n, s in steps_s.items()),
        tuple(WireSpec("a", n, link) for n in "bcde"),
        TaskSpec("linear", WEIGHTS),
        (JobSpec("a", 5.0, 6, None, 20, 0.05, 10.0, 2, "auto", "auto"),),
    )
    gone = TimedFault(26.0, f.Partition((("a", "b"), ("c",), ("d",), ("e",))))
    run = play(Schedule(1, "scene", spec, (gone,), 300.0))
    assert not run.found
    assert run.world is not None
    again = [r for _, r in run.world.archive.records.values() if isinstance(r, Plan) and r.number > 0]
    assert again
    machines = run.world.machines
    for plan in again:
        rows = {row.node: row for row in load(machines["a"].disk, run.world.jobs[0].id, plan.round)}
        for name in "ab":
            assert rows[machines[name].node].was_bytes is not None
