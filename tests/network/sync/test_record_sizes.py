"""How long records are beside their payload, in a job of ten simulated nodes (docs/benchmarks.md)."""

from __future__ import annotations

import random

import pytest

from muster.network.sync.peers import SyncContext
from muster.protocol.contents import inline_bytes
from muster.protocol.ids import NodeId
from muster.protocol.records import Record
from muster.simulation.judging.check import play
from muster.simulation.schedule import Schedule
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.virtual.pipe import PathParams

NARROW = PathParams(rate_bytes_s=1_200, delay_s=0.3)
LEAVES = tuple(f"leaf-{number}" for number in range(9))


@pytest.mark.parametrize(
    ("codec", "most"),
    [
        ("stc:0.05", {"update": 122, "measurement": 114, "plan": 135, "commit": 330}),
        ("auto", {"update": 156, "measurement": 114, "plan": 160, "commit": 370}),
    ],
)
def test_records_of_a_job_of_ten_nodes(
    monkeypatch: pytest.MonkeyPatch, codec: str, most: dict[str, int]
) -> None:
    """From the third round on; some nodes are up to four times as slow as others."""
    rng, seen = random.Random(4), dict.fromkeys(most, 0)

    def count(self: SyncContext, node: NodeId, name: bytes, record: Record, short: bytes) -> None:
        kind, number = record.KIND, getattr(record, "round", getattr(record, "base_round", 3))
        if kind in most and number >= 3:
            seen[kind] = max(seen[kind], len(short) - inline_bytes(record))
        usual(self, node, name, record, short)

    usual = SyncContext.count_record
    monkeypatch.setattr(SyncContext, "count_record", count)
    nodes = (MachineSpec(name, 100, 0.02 * (1 + 3 * rng.random())) for name in ("hub", *LEAVES))
    links = (WireSpec("hub", name, NARROW) for name in LEAVES)
    job = JobSpec("hub", 60.0, 10, None, 50, 0.05, 20.0, 9, codec, codec)
    run = play(
        Schedule(
            1, "scene", WorldSpec(1, tuple(nodes), tuple(links), TaskSpec("linear", 5994), (job,)), (), 400.0
        )
    )
    assert not run.found
    assert all(0 < seen[kind] <= most[kind] for kind in most), seen
