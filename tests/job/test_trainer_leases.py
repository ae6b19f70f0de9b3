"""A job that cannot begin or does not move keeps nobody else waiting, and goes on when it can."""

from __future__ import annotations

import asyncio

from small_field import LAYOUT, SeedTrainer, SmallField

from muster.compression.tensors import pack
from muster.job.participant.trainer_slot import LEASE_S, TrainerSlot
from muster.protocol.ids import JobId
from muster.simulation.trainers.linear import target_of
from muster.simulation.virtual.event_loop import run

ELSEWHERE = pack(LAYOUT, {"w": target_of(99, 40)})  # a start that no seed gives


def finished(field: SmallField, name: str, job: JobId) -> bool:
    runner = field.cores[name].jobs.runners.get(job)
    return runner is not None and runner.state() == "finished"


def test_the_line_for_the_trainer() -> None:
    slot = TrainerSlot()
    assert slot.ask(b"a", urgent=True)
    assert not slot.ask(b"b", urgent=False)
    assert not slot.wanted
    assert not slot.ask(b"c", urgent=True)
    assert slot.wanted
    slot.leave(b"a")
    assert not slot.ask(b"b", urgent=False)  # came first, and has nothing to do
    assert slot.ask(b"c", urgent=True)
    slot.leave(b"c")
    assert slot.ask(b"b", urgent=False)
    slot.leave(b"b")
    assert slot.ask(b"d", urgent=True)


def test_a_job_without_a_start_gives_the_trainer_to_the_next() -> None:
    """The asker dies right after asking: nobody has the model that its job begins with."""

    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        await asked_and_gone(field, ELSEWHERE)
        job = field.ask("a")
        assert await field.until(lambda: all(finished(field, n, job) for n in "ab"), LEASE_S + 60.0)
        assert any("gives the trainer to another job" in text for text in field.said("a"))
        await field.close()

    run(main(), until_s=3600)


async def asked_and_gone(field: SmallField, start: bytes = b"") -> JobId:
    """c asks for a job, and is gone before anybody has the model that it begins with."""
    job = field.ask("c", start=start)
    for blob, _ in list(field.stores["c"].blobs()):
        field.stores["c"].delete_blob(blob)
    await field.until(lambda: all(job in field.cores[n].jobs.runners for n in "ab"), 5.0)
    await field.cores.pop("c").close()
    return job


def test_a_job_that_stands_goes_on_when_it_can() -> None:
    """It needs three nodes and has two; another job is done meanwhile; then the third one comes back."""

    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        field.network.isolate(field.cores["c"].node)
        await asyncio.sleep(60.0)
        waits = field.ask("a", min_nodes=3, patience_s=100.0)
        await asyncio.sleep(60.0)
        job = field.ask("b")
        assert await field.until(lambda: all(finished(field, n, job) for n in "ab"), LEASE_S + 60.0)
        assert field.runner("a", waits).state() != "finished"
        field.network.rejoin(field.cores["c"].node)
        assert await field.until(lambda: all(finished(field, n, waits) for n in "abc"), 300.0)
        await field.close()

    run(main(), until_s=3600)


def test_a_job_whose_asker_is_gone_begins_from_the_seed() -> None:
    """Also when the trainers here took longer to start than the model would have been waited for."""

    class LateTrainer(SeedTrainer):
        async def describe(self) -> object:  # type: ignore[override]
            await asyncio.sleep(90.0)
            return await super().describe()

    async def main() -> None:
        field = SmallField("abc", LateTrainer)
        await field.start()
        job = await asked_and_gone(field)
        assert await field.until(lambda: all(finished(field, n, job) for n in "ab"), 600.0)
        await field.close()

    run(main(), until_s=3600)
