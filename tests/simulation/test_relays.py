"""Who only passes on what others want does it within the disk limit; its own job's updates pass."""

from __future__ import annotations

import pytest

from muster.simulation.judging.check import judge, story
from muster.simulation.schedule import Schedule
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.virtual.pipe import PathParams
from muster.storage.memory import MemoryStore

LINK = PathParams(rate_bytes_s=1e6, delay_s=0.05)
LIMIT_BYTES = 400_000
WEIGHTS = 3000  # 12 kB a model, and as much an update


def test_a_relay_that_takes_no_part_keeps_to_its_disk_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    most: dict[MemoryStore, int] = {}
    keep = MemoryStore._keep_blob

    def kept(self: MemoryStore, blob: bytes, data: bytes) -> None:
        keep(self, blob, data)
        most[self] = max(most.get(self, 0), sum(map(len, self._blobs.values())))

    monkeypatch.setattr(MemoryStore, "_keep_blob", kept)
    nodes = (
        MachineSpec("a", 100, 0.02),
        MachineSpec("b", 100, 0.02, unwilling="policy", disk_limit_bytes=LIMIT_BYTES),
        MachineSpec("c", 100, 0.02),
    )
    links = (WireSpec("a", "b", LINK), WireSpec("b", "c", LINK))
    job = JobSpec("a", 30.0, 60, None, 10, 0.05, 10.0, 2, "dense32", "dense32")
    spec = WorldSpec(1, nodes, links, TaskSpec(weights=WEIGHTS), (job,))
    verdict = judge(Schedule(1, "relay", spec, (), 600.0))
    assert verdict.good, story(verdict)
    assert verdict.rounds == 60
    assert sorted(most.values())[0] <= LIMIT_BYTES  # b: the others keep more, and may


def test_a_node_over_its_disk_limit_lets_the_updates_of_its_own_job_pass() -> None:
    """b takes part, and the models that it cannot do without are more than its limit: c's updates reach a."""
    nodes = (
        MachineSpec("a", 100, 0.02),
        MachineSpec("b", 100, 0.02, disk_limit_bytes=5 * WEIGHTS),
        MachineSpec("c", 100, 0.02),
    )
    links = (WireSpec("a", "b", LINK), WireSpec("b", "c", LINK))
    job = JobSpec("a", 30.0, 20, None, 10, 0.05, 10.0, 3, "dense32", "dense32")
    spec = WorldSpec(1, nodes, links, TaskSpec(weights=WEIGHTS), (job,))
    verdict = judge(Schedule(1, "relay", spec, (), 600.0))
    assert verdict.good, story(verdict)
    assert verdict.rounds == 20


def test_a_node_whose_records_are_over_its_disk_limit_cuts_nobody_off() -> None:
    """b takes no part; c comes when the job is over, and the records of it are more than b's limit."""
    nodes = (
        MachineSpec("a", 100, 0.02),
        MachineSpec("b", 100, 0.02, unwilling="policy", disk_limit_bytes=20_000),
        MachineSpec("c", 100, 0.02, starts_s=500.0),
    )
    links = (WireSpec("a", "b", LINK), WireSpec("b", "c", LINK))
    job = JobSpec("a", 30.0, 60, None, 10, 0.05, 10.0, 1, "dense32", "dense32")
    spec = WorldSpec(1, nodes, links, TaskSpec(weights=1000), (job,))
    verdict = judge(Schedule(1, "relay", spec, (), 600.0))
    assert verdict.good, story(verdict)


def test_a_full_relay_makes_room_for_what_is_asked_for_next() -> None:
    """Four nodes are behind b, which takes no part; two of their updates fill what b may keep for others, and
    the records take the rest.  What b has passed on makes room for the others (seed 30517)."""
    behind = "cdef"
    nodes = (
        MachineSpec("a", 100, 0.02),
        MachineSpec("b", 100, 0.02, unwilling="policy", disk_limit_bytes=39 * WEIGHTS),
        *(MachineSpec(name, 100, 0.02) for name in behind),
    )
    links = (WireSpec("a", "b", LINK), *(WireSpec("b", name, LINK) for name in behind))
    job = JobSpec("a", 30.0, 40, None, 10, 0.05, 10.0, 2, "dense32", "dense32")
    spec = WorldSpec(1, nodes, links, TaskSpec(weights=WEIGHTS), (job,))
    verdict = judge(Schedule(1, "relay", spec, (), 900.0))
    assert verdict.good, story(verdict)
    assert verdict.rounds == 40
