"""A job's history begins with its asker's commit, and with nobody else's."""

from __future__ import annotations

import asyncio

import pytest
from small_field import LAYOUT, SmallField

from muster.compression.tensors import pack
from muster.network.sync.admission import NOT_THE_ASKERS
from muster.network.trust.signing import seal
from muster.protocol.ids import JobId
from muster.protocol.records import Commit
from muster.simulation.identities import PretendIdentity
from muster.simulation.trainers.linear import target_of
from muster.simulation.virtual.event_loop import run

OTHER = pack(LAYOUT, {"w": target_of(99, 40)})


def another_root(field: SmallField, maker: str, job: JobId) -> tuple[bytes, bytes]:
    """A first commit for a job by a node that did not ask for it: (id, wire)."""
    blob = field.stores[maker].put_blob(OTHER)
    node = field.cores[maker].node
    root = Commit(job, (), 0, (), (node,), (), 0.0, blob, len(OTHER))
    return seal(PretendIdentity(maker), root)


def test_a_root_by_another_is_refused_where_the_job_is_known() -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        job = field.ask("a")
        root_id, wire = another_root(field, "c", job)
        b = field.cores["b"]
        assert await field.until(lambda: job in b.jobs.runners, 10.0)
        assert b.ledger.receive(wire, field.cores["c"].node) is None
        assert NOT_THE_ASKERS in b.ledger.refusals.last
        assert b.store.get(root_id) is None
        assert await field.until(lambda: field.runner("b", job).state() == "finished", 120.0)
        await field.close()

    run(main(), until_s=3600)


@pytest.mark.parametrize("restarted", [False, True])
def test_one_that_came_before_its_job_is_left_out(restarted: bool) -> None:
    """b has the wrong root first, and gets the job with its own one later."""

    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        b = field.cores["b"]
        field.network.isolate(b.node)
        await asyncio.sleep(60.0)
        job = field.ask("a", min_nodes=3)
        root_id, wire = another_root(field, "c", job)
        assert b.ledger.receive(wire, field.cores["c"].node) == root_id
        if restarted:
            await b.close()
            b = field.cores["b"] = field.restart("b")
            await b.start()
        field.network.rejoin(b.node)
        assert await field.until(lambda: job in b.jobs.runners, 60.0)
        graph = field.runner("b", job).view.graph
        assert await field.until(lambda: field.runner("b", job).state() == "finished", 120.0)
        assert graph.refused == {root_id: NOT_THE_ASKERS}
        assert root_id not in graph.points
        await field.close()

    run(main(), until_s=3600)
