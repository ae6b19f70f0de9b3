"""Who only passes on what others want does it within the disk limit, and the job goes on."""

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
