"""A job whose first model nobody will have ends by itself, on each node alone, and goes on if one comes."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest
from small_field import LAYOUT, SmallField

from muster.compression.tensors import pack
from muster.job.beginning import KEEP_S, LOST_S, REVOKED_S
from muster.network.sync.ledger import job_of
from muster.network.trust.signing import seal
from muster.node.api.snapshot_builder import job_view
from muster.protocol.ids import JobId
from muster.protocol.parts import Recipe, StopRule
from muster.protocol.records import Commit, Job, Revocation
from muster.simulation.identities import PretendIdentity
from muster.simulation.trainers.linear import TASK, target_of
from muster.simulation.virtual.event_loop import run

ELSEWHERE = pack(LAYOUT, {"w": target_of(99, 40)})  # a start that no seed gives


async def asked_and_gone(field: SmallField) -> JobId:
    """c asks, and is gone with its disk before anybody has the model that its job begins with."""
    job = field.ask("c", start=ELSEWHERE)
    for blob, _ in list(field.stores["c"].blobs()):
        field.stores["c"].delete_blob(blob)
    await field.until(lambda: all(job in field.cores[n].jobs.runners for n in "ab"), 5.0)
    await field.cores.pop("c").close()
    return job


def state(field: SmallField, name: str, job: JobId) -> tuple[str, str]:
    seen = job_view(field.cores[name], field.cores[name].jobs.runners[job], None)
    return seen.state, seen.why


def test_what_it_waits_for_is_said_and_after_the_keep_it_ends() -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        job = await asked_and_gone(field)
        await asyncio.sleep(700.0)
        waits = field.runner("a", job).waits()
        assert "waits for the model that it begins with: c, which has it, is out of reach" in waits
        key = "beginning/" + job.hex()
        waited_s = msgspec.msgpack.decode(field.stores["a"].state(key) or b"", type=float)
        assert 600.0 <= waited_s <= 720.0
        await field.cores["a"].close()
        field.stores["a"].set_state(key, msgspec.msgpack.encode(KEEP_S - 100.0))  # as after some days
        field.cores["a"] = field.restart("a")
        await field.cores["a"].start()
        await asyncio.sleep(50.0)
        assert state(field, "a", job)[0] == "running"
        await asyncio.sleep(100.0)
        assert state(field, "a", job) == ("stopped", "in 7 days its first model did not come from c")
        assert any("the job is given up here: in 7 days" in text for text in field.said("a"))
        assert state(field, "b", job)[0] == "running", "b has waited for some minutes only"
        other = field.ask("a")
        runners = field.cores["b"].jobs.runners
        assert await field.until(lambda: other in runners and runners[other].state() == "finished", 200.0)
        await field.close()

    run(main(), until_s=7200)


def test_one_that_was_given_up_goes_on_when_its_model_comes() -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        job = await asked_and_gone(field)
        runner = field.runner("a", job)
        runner.view.given_up = "it seemed so"
        await asyncio.sleep(30.0)
        assert state(field, "a", job)[0] == "stopped"
        field.stores["b"].put_blob(ELSEWHERE)  # somebody brought it after days
        field.cores["b"].transfers.poke()
        assert await field.until(lambda: state(field, "a", job)[0] == "finished", 300.0)
        await field.close()

    run(main(), until_s=7200)


def test_the_asker_itself_knows_when_its_disk_was_lost() -> None:
    """Its own job comes back to it from others: nobody has what only its disk had."""

    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        job = await asked_and_gone(field)
        field.stores["c"].lose(random.Random(2))
        field.cores["c"] = field.restart("c")
        await field.cores["c"].start()
        await asyncio.sleep(LOST_S / 2)
        assert state(field, "c", job)[0] == "running"
        await asyncio.sleep(LOST_S)
        assert state(field, "c", job)[0] == "stopped"
        assert "ask for it again" in state(field, "c", job)[1]
        await field.close()

    run(main(), until_s=7200)


def test_the_job_of_a_revoked_asker_does_not_wait() -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        job = await asked_and_gone(field)
        revoked = Revocation(PretendIdentity("c").node, "lost in the field")
        _, wire = seal(PretendIdentity("authority"), revoked)
        assert field.cores["a"].ledger.receive(wire, b"") is not None
        await asyncio.sleep(REVOKED_S + 30.0)
        for name in "ab":
            assert state(field, name, job)[0] == "stopped"
            assert "was revoked" in state(field, name, job)[1]
        await field.close()

    run(main(), until_s=7200)


@pytest.mark.parametrize("back", [True, False])
def test_a_job_whose_first_commit_never_left_its_asker(back: bool) -> None:
    """The record of the job came alone: it begins when the asker is back, and else is said and given up."""

    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        c = field.cores["c"]
        recipe = Recipe(0.1, 10, 4, 0, codec="dense32", down_codec="dense32")
        record = Job(TASK, LAYOUT.fingerprint(), recipe, StopRule(rounds=3), 1, 2.0, b"n")
        job, wire = seal(PretendIdentity("c"), record)
        field.network.isolate(c.node)
        await asyncio.sleep(60.0)
        c.store.add(job, record.KIND, job_of(record, job), wire, b"")
        assert field.cores["a"].ledger.receive(wire, c.node) == job
        await asyncio.sleep(60.0)
        assert field.runner("a", job).waits()[0].startswith("waits for the model that it begins with: c")
        await c.close()
        if back:
            c = field.cores["c"] = field.restart("c")
            blob = c.store.put_blob(ELSEWHERE)
            root = Commit(job, (), 0, (), (c.node,), (), 0.0, blob, len(ELSEWHERE))
            root_id, root_wire = seal(PretendIdentity("c"), root)
            c.store.add(root_id, root.KIND, job, root_wire, b"")
            field.network.rejoin(c.node)
            await c.start()
            assert await field.until(lambda: state(field, "a", job)[0] == "finished", 300.0)
        else:
            del field.cores["c"]
            key = "beginning/" + job.hex()
            await field.cores["a"].close()
            field.stores["a"].set_state(key, msgspec.msgpack.encode(KEEP_S))
            field.cores["a"] = field.restart("a")
            await field.cores["a"].start()
            await asyncio.sleep(30.0)
            assert state(field, "a", job)[0] == "stopped"
        await field.close()

    run(main(), until_s=7200)
