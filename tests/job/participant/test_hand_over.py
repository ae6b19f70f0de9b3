"""A coordinator's downlink residual is not lost when another node takes over."""

from __future__ import annotations

import random

import numpy as np

from muster.job.models import residuals
from muster.simulation import faults as f
from muster.simulation.judging.check import play
from muster.simulation.schedule import Schedule, TimedFault
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.virtual.pipe import PathParams
from muster.simulation.world import World
from muster.storage.memory import MemoryStore

JOB = b"J" * 32
LINK = PathParams(rate_bytes_s=1e6, delay_s=0.01)


def world_after(*events: TimedFault) -> World:
    """A job of three nodes with 5 % sparse ternary both ways, run to its end."""
    spec = WorldSpec(
        1,
        tuple(MachineSpec(n, 100, 0.25) for n in "abc"),
        tuple(WireSpec(p[0], p[1], LINK) for p in ("ab", "bc", "ac")),
        TaskSpec("linear", 1500),
        (JobSpec("a", 5.0, 12, None, 20, 0.05, 10.0, 2, "stc:0.05", "stc:0.05"),),
    )
    run = play(Schedule(1, "scene", spec, events, 300.0))
    assert not run.found
    assert run.world is not None
    return run.world


def test_the_coordinators_residual_is_kept_while_it_coordinates() -> None:
    world = world_after()
    job = world.jobs[0].id
    assert residuals.load(world.machines["a"].disk, "down", job) is not None
    assert residuals.load(world.machines["b"].disk, "down", job) is None


def test_it_joins_the_uplink_when_another_coordinates() -> None:
    apart = TimedFault(25.0, f.Partition((("a",), ("b", "c"))))
    world = world_after(apart, TimedFault(60.0, f.Heal()))
    job = world.jobs[0].id
    authors = {who for _, who, text in world.archive.story if "committed as" in text}
    assert len(authors) > 1
    left = [n for n in "abc" if residuals.load(world.machines[n].disk, "down", job) is not None]
    assert len(left) <= 1  # whoever coordinates last has one; what the other left went into its updates


def test_a_residual_is_kept_under_its_commit() -> None:
    store = MemoryStore(random.Random(0))
    assert residuals.tagged(store, "down", JOB) is None
    assert residuals.load(store, "down", JOB) is None
    residuals.keep(store, "down", JOB, residuals.stage(store, "down", JOB, np.ones(3, np.float32)), b"head")
    tag, kept = residuals.tagged(store, "down", JOB)  # type: ignore[misc]
    assert tag == b"head"
    assert np.array_equal(kept, np.ones(3, np.float32))
    assert np.array_equal(residuals.load(store, "down", JOB), kept)  # type: ignore[arg-type]
    assert residuals.load(store, "up", JOB) is None
    residuals.keep(store, "down", JOB, None)
    assert residuals.load(store, "down", JOB) is None
