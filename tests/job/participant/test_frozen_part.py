"""What a task does not train comes to a node whose own is another: once, before it offers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from msgspec.structs import replace
from small_field import SmallField

from muster.job.context import Policy
from muster.job.owner.allowance import OwnerLimits
from muster.job.participant.frozen_part import FrozenPart
from muster.protocol.ids import JobId
from muster.protocol.parts import Recipe, StopRule
from muster.protocol.records import Job
from muster.protocol.validation.validate import validate
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.pipe import PathParams

BACKBONE = bytes(range(256)) * 400  # 102 kB; the model that travels has 176 bytes


def field_of(
    names: str, lacking: str = "b", policy: Policy | Mapping[str, Policy] | None = None
) -> SmallField:
    """All but the `lacking` nodes have what the task does not train; those have something else."""
    frozen = {name: name.encode() if name in lacking else BACKBONE for name in names}
    return SmallField(names, policy=policy, frozen=frozen)


def ended(field: SmallField, name: str, job: JobId) -> bool:
    return field.runner(name, job).finished() is not None


def counted(field: SmallField, job: JobId) -> set[str]:
    """The names of the nodes whose work the asker's head counts."""
    head = field.runner("a", job).head()
    assert head is not None
    nodes = {spent.node for spent in head.spent}
    return {name for name, core in field.cores.items() if core.node in nodes}


def fetches(field: SmallField, name: str) -> list[str]:
    return [text for text in field.said(name) if text.startswith("fetches the frozen part")]


def test_a_node_that_lacks_it_fetches_it_and_takes_part() -> None:
    async def story() -> None:
        field = field_of("abc")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=20), min_nodes=3)
        assert await field.until(lambda: ended(field, "a", job), 200)
        assert counted(field, job) == {"a", "b", "c"}
        assert fetches(field, "b") == ["fetches the frozen part of the task, 102 kB, from a"]
        assert any("has the frozen part of the task: 102 kB came in" in text for text in field.said("b"))
        assert not any("frozen part" in text for text in field.said("c"))
        blob = field.runner("b", job).view.job.frozen
        assert blob is not None
        assert field.stores["b"].has_blob(blob)
        assert not field.stores["c"].has_blob(blob)  # it has its own
        sent = field.cores["a"].exchange.traffic.for_job(job)
        assert len(BACKBONE) <= sent.frozen < 1.05 * len(BACKBONE)
        head = field.runner("a", job).head()
        assert head is not None
        assert max(sent.payload, sum(spent.bytes for spent in head.spent)) < 30_000  # of the rounds, apart
        await field.close()

    run(story())


def test_the_next_job_finds_it_here_also_after_a_restart() -> None:
    async def story() -> None:
        field = field_of("ab")
        await field.start()
        for rounds in (2, 3):
            job = field.ask("a", stop=StopRule(rounds=rounds), min_nodes=2)
            assert await field.until(lambda job=job: ended(field, "a", job), 100)  # type: ignore[misc]
            assert counted(field, job) == {"a", "b"}
        assert len(fetches(field, "b")) == 1
        await field.cores["b"].close()
        field.cores["b"] = field.restart("b")
        await field.cores["b"].start()
        job = field.ask("a", min_nodes=2)
        assert await field.until(lambda: ended(field, "a", job), 100)
        assert fetches(field, "b") == []
        await field.close()

    run(story())


def test_what_the_asker_does_not_offer_is_refused() -> None:
    async def story() -> None:
        field = field_of("ab")
        await field.start()
        job = field.ask("a", offers_frozen=False)
        assert await field.until(lambda: ended(field, "a", job), 100)
        assert counted(field, job) == {"a"}
        assert field.cores["b"].node in field.runner("a", job).view.refusals
        await field.close()

    run(story())


def test_a_disk_limit_refuses_it_with_the_figures() -> None:
    async def story() -> None:
        field = field_of("ab", policy=Policy(disk_limit_bytes=100_000))
        await field.start()
        job = field.ask("a")
        assert await field.until(lambda: ended(field, "a", job), 100)
        reason = field.runner("a", job).view.refusals[field.cores["b"].node]
        assert "has 102 kB, over the 100 kB of policy.disk_limit_mb" in reason
        await field.close()

    run(story())


def test_a_metered_node_takes_none_that_is_more_than_a_days_bytes() -> None:
    async def story() -> None:
        metered = Policy(owner=OwnerLimits(bytes_per_day=100_000, metered=True))
        field = field_of("ab", policy={"b": metered})
        await field.start()
        job = field.ask("a")
        assert await field.until(lambda: ended(field, "a", job), 100)
        reason = field.runner("a", job).view.refusals[field.cores["b"].node]
        assert "has 102 kB, more than a day's bytes of policy.metered" in reason
        await field.close()

    run(story())


def test_a_days_bytes_end_the_fetch_until_the_next_day() -> None:
    async def story() -> None:
        field = field_of("ab", policy={"b": Policy(owner=OwnerLimits(bytes_per_day=70_000))})
        field.network.set(*(field.cores[n].node for n in "ab"), PathParams(rate_bytes_s=2_000.0))
        await field.start()
        job = field.ask("a", min_nodes=2, stop=StopRule(rounds=400), patience_s=60.0)
        assert await field.until(lambda: fetches(field, "b") != [], 60)
        blob, transfers = field.runner("b", job).view.job.frozen, field.cores["b"].transfers
        assert blob is not None
        reason = "it has given its 70 kB of today"
        assert await field.until(lambda: reason in (field.runner("b", job).error or ""), 120)
        assert transfers.status(blob) is None
        await asyncio.sleep(60)
        assert not field.stores["b"].has_blob(blob)
        assert field.cores["a"].exchange.traffic.for_job(job).frozen < 90_000  # with what was on its way
        await field.close()

    run(story())


def test_a_job_that_waits_for_it_says_so_and_keeps_no_other_job_waiting() -> None:
    async def story() -> None:
        field = field_of("ab")
        await field.start()
        a, b = (field.cores[name].node for name in "ab")
        job = field.ask("a", stop=StopRule(rounds=400), min_nodes=2, patience_s=60.0)
        assert await field.until(lambda: fetches(field, "b") != [], 60)
        field.network.cut(a, b)
        field.stores["b"].delete_blob(field.runner("b", job).view.job.frozen or b"")
        await asyncio.sleep(30)
        wanted = "the frozen part of the task, 102 kB"
        assert any(wanted in wait for wait in field.runner("b", job).waits())
        own = field.ask("b")  # of its own, with its own frozen part
        assert await field.until(lambda: ended(field, "b", own), 60)
        field.network.heal(a, b)
        assert await field.until(lambda: counted(field, job) == {"a", "b"}, 200)
        await field.close()

    run(story())


def test_a_fetch_ends_with_its_job() -> None:
    async def story() -> None:
        field = field_of("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=400), min_nodes=2)
        assert await field.until(lambda: fetches(field, "b") != [], 60)
        runner = field.runner("b", job)
        blob = runner.view.job.frozen
        assert blob is not None
        field.network.cut(field.cores["a"].node, field.cores["b"].node)
        await runner._frozen.close()
        field.stores["b"].delete_blob(blob)
        runner._frozen.look()
        await asyncio.sleep(1)
        assert field.cores["b"].transfers.status(blob) is not None
        runner.view.stopped = "by its user"
        runner._frozen.look()
        await asyncio.sleep(1)
        assert field.cores["b"].transfers.status(blob) is None
        await field.close()

    run(story())


def test_a_damaged_one_is_fetched_again_and_a_needed_one_stays() -> None:
    async def story() -> None:
        field = field_of("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=50), min_nodes=2)
        assert await field.until(lambda: field.round("a", job) >= 2, 100)
        runner, store = field.runner("b", job), field.stores["b"]
        blob = runner.view.job.frozen
        assert blob is not None
        assert blob in runner.needs()
        assert blob in field.runner("a", job).needs()  # others may lack it
        store._blobs[blob] = bytes(len(BACKBONE))  # the disk turned it
        lacking = FrozenPart(runner.context, runner.view, runner.models)
        lacking.lacks()
        assert not lacking.due()
        assert not await lacking.held()
        assert lacking.due()
        lacking.look()
        await asyncio.sleep(10)
        assert await lacking.held()
        assert await field.until(lambda: ended(field, "a", job), 300)
        assert blob not in field.runner("a", job).needs()  # it may make room
        assert blob in runner.needs()  # an export wants it
        await lacking.close()
        await field.close()

    run(story())


@pytest.mark.parametrize(
    ("frozen", "size_bytes", "valid"),
    [
        (bytes(32), 10, True),
        (None, 0, True),
        (None, 1, False),
        (bytes(31), 10, False),
        (bytes(32), -1, False),
    ],
)
def test_a_jobs_frozen_part_is_an_id_and_a_size(frozen: bytes | None, size_bytes: int, valid: bool) -> None:
    job = Job("t", bytes(32), Recipe(0.1, 1, 1, 0), StopRule(rounds=1), 1, 2.0, b"", frozen=frozen)
    assert (validate(replace(job, frozen_bytes=size_bytes)) is None) is valid
