"""Jobs at rest leave memory, and come back when a record of them comes or somebody asks."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from small_field import SmallField

from muster.errors import MusterError
from muster.history.graph import Graph
from muster.history.point import Point
from muster.job.reactions import REACTIONS
from muster.job.retirement import retired
from muster.job.retirement.reading import SLICE
from muster.job.retirement.retired import JobLimits
from muster.job.view import JobView
from muster.network.sync.ledger import Entry
from muster.network.trust.signing import seal
from muster.node.api import inspection, job_requests
from muster.node.api.stored_jobs import stored_jobs
from muster.node.core import Core
from muster.protocol.envelope import decode, unpack
from muster.protocol.ids import JobId, NodeId
from muster.protocol.parts import StopRule
from muster.protocol.records import Contribution, Offer, Record, Stop
from muster.simulation.identities import PretendIdentity
from muster.simulation.trainers.linear import TASK
from muster.simulation.virtual.event_loop import run
from muster.storage.store import StoredRecord

FEW = JobLimits(in_memory=6, at_rest=2)


def over(field: SmallField, name: str, job: JobId) -> bool:
    jobs = field.cores[name].jobs
    runner = jobs.runners.get(job)
    return job in jobs.retired() or (runner is not None and runner.state() == "finished")


async def some(field: SmallField, number: int) -> list[JobId]:
    """Jobs that ended, one after the other."""
    await field.start()
    jobs = []
    for _ in range(number):
        jobs.append(field.ask("a", stop=StopRule(rounds=1)))
        assert await field.until(lambda: all(over(field, n, jobs[-1]) for n in "ab"), 120)
    await asyncio.sleep(200)
    return jobs


def test_after_sixty_six_jobs_a_node_still_hears() -> None:
    """Until now 64 jobs ever were opened, and a node was deaf from then on."""

    async def main() -> None:
        field = SmallField("ab")
        jobs = await some(field, 66)
        core = field.cores["b"]
        assert len(core.jobs.runners) <= 8
        assert core.jobs.find("") == jobs
        assert set(core.jobs.retired()) | core.jobs.runners.keys() == set(jobs)
        [first] = [retired.load(core.store, job) for job in jobs[:1]]
        assert first is not None
        assert (first.state, first.round) == ("finished", 1)
        await field.close()

    run(main(), until_s=36000)


def test_a_retired_job_comes_back_when_asked_for() -> None:
    async def main() -> None:
        field = SmallField("ab", limits=FEW)
        jobs = await some(field, 5)
        core = field.cores["b"]
        assert jobs[0] in core.jobs.retired()
        runner = await job_requests.find(core, jobs[0].hex()[:12])
        head = runner.head()
        assert head is not None
        assert head.round == 1
        assert runner.models.held(head.id)
        assert (await job_requests.find(core, "")).view.id == jobs[
            -1
        ]  # the newest one, whatever was loaded last
        listed = stored_jobs(core, 0, 100)
        assert [bytes.fromhex(view.id) for view in listed] == core.jobs.retired()
        assert {(v.task, v.asker, v.state, v.round, v.rounds) for v in listed} == {
            (TASK, "a", "finished", 1, 1)
        }
        assert [v.id for v in stored_jobs(core, 1, 1)] == [listed[-2].id]
        second = retired.load(core.store, jobs[1])
        assert second is not None
        assert jobs[1] in core.jobs.retired()
        commit = core.store.select("commit", jobs[1])[-1].id
        assert (await inspection.show(core, commit.hex()[:13])).job == jobs[1].hex()
        with pytest.raises(MusterError, match="no job here begins with"):
            await job_requests.find(core, "ffffffffffff")
        await field.close()

    run(main(), until_s=36000)


def test_a_retired_job_comes_back_when_a_record_comes() -> None:
    async def main() -> None:
        field = SmallField("ab", limits=FEW)
        jobs = await some(field, 5)
        core = field.cores["b"]
        assert jobs[0] in core.jobs.retired()
        head = core.store.select("commit", jobs[0])[-1].id
        field.cores["a"].ledger.publish(Contribution(jobs[0], head, 7, False, 0.0, b""))
        await asyncio.sleep(5)
        assert jobs[0] in core.jobs.runners
        assert core.jobs.runners[jobs[0]].view.contributions[head]
        assert list(core.jobs.runners) == [j for j in jobs if j in core.jobs.runners]
        await asyncio.sleep(200)
        assert jobs[0] in core.jobs.runners  # the one that came to rest last
        assert len(core.jobs.runners) == FEW.at_rest
        await field.close()

    run(main(), until_s=36000)


def test_a_start_loads_what_goes_on_only() -> None:
    async def main() -> None:
        field = SmallField("ab", limits=FEW)
        jobs = await some(field, 5)
        retired_before = field.cores["b"].jobs.retired()
        await field.cores.pop("b").close()
        b = field.restart("b")
        await b.start()
        assert b.jobs.retired() == retired_before
        assert b.jobs.find("") == jobs
        await b.close()
        # a record that was kept, and the process ended before its job took it in
        head = field.stores["b"].select("commit", jobs[0])[-1].id
        b = field.restart("b")
        b.jobs.start = lambda: None  # type: ignore[method-assign]
        await b.start()
        b.ledger.publish(Contribution(jobs[0], head, 7, False, 0.0, b""))
        await b.close()
        b = field.restart("b")
        await b.start()
        assert jobs[0] in b.jobs.runners
        await b.close()
        await field.close()

    run(main(), until_s=36000)


def test_jobs_that_never_end_leave_room_for_others() -> None:
    """They wait for a second node that is not there; the newest one does not wait for ever."""

    async def main() -> None:
        field = SmallField("a", limits=FEW)
        await field.start()
        dead = [field.ask("a", min_nodes=3) for _ in range(8)]
        await asyncio.sleep(30)
        core = field.cores["a"]
        assert len(core.jobs.runners) == 6
        assert core.jobs.find("") == dead
        job = field.ask("a", stop=StopRule(rounds=1))
        assert await field.until(lambda: over(field, "a", job), 3600)
        core.ledger.publish(Stop(dead[0], "by its user"))
        await asyncio.sleep(1)
        runner = core.jobs.runners.get(dead[0])
        assert runner is None or runner.state() == "stopped"
        await field.close()

    run(main(), until_s=36000)


def test_models_of_retired_jobs_are_left_alone_and_old_ones_go_over_the_limit() -> None:
    async def main() -> None:
        field = SmallField("ab", limits=FEW)
        jobs = await some(field, 5)
        core = field.cores["b"]
        summed = retired.load(core.store, jobs[0])
        assert summed is not None
        assert summed.needs
        old_models = core.store.put_blob(b"old parameters")
        retired.keep(
            core.store, jobs[0], msgspec.structs.replace(summed, old_models=(old_models, *summed.needs))
        )
        core.jobs._stored.disk_limit_bytes = 0
        await asyncio.sleep(30)
        assert not core.store.has_blob(old_models)
        assert all(core.store.has_blob(blob) for blob in summed.needs)
        await field.close()

    run(main(), until_s=36000)


def test_a_start_reads_the_records_of_jobs_that_go_on_only() -> None:
    """10,000 jobs: their own records and a summary each, whatever happened in them."""

    async def main() -> None:
        field = SmallField("ab", limits=FEW)
        [job, *_] = await some(field, 5)
        store = field.stores["b"]
        summed = retired.load(store, job)
        assert summed is not None
        await field.cores.pop("b").close()
        wire = store.select("job", job)[0].wire
        for number in range(10_000):
            other = number.to_bytes(32, "big")
            store.add(other, "job", other, wire, b"x" * 32)
            retired.keep(store, other, summed)
        b = field.restart("b")
        selected = []
        select = store.select

        def counted(kind: str, of: bytes | None = None, *part: Any) -> list[StoredRecord]:
            selected.append((kind, of))
            return select(kind, of, *part)

        store.select = counted  # type: ignore[method-assign]
        await b.start()
        assert len(selected) < 60  # of 10,000 jobs those of the two at rest in memory, and members
        assert b.jobs.stored_count() == 10_003
        assert len(b.jobs.runners) == FEW.at_rest
        await b.close()
        await field.close()

    run(main(), until_s=36000)


def test_a_branch_that_comes_home_after_its_job_retired_is_merged() -> None:
    """Two halves finish the job each for itself and forget it; when they meet again it is made one."""

    async def main() -> None:
        field = SmallField("ab", limits=JobLimits(at_rest=0))
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=40))
        a, b = (field.cores[name] for name in "ab")
        assert await field.until(lambda: job in b.jobs.runners and head(b, job).round >= 3, 60)
        field.network.cut(a.node, b.node)
        assert await field.until(lambda: all(job in c.jobs.retired() for c in (a, b)), 3600)
        apart = [retired.load(core.store, job) for core in (a, b)]
        assert all(known is not None and known.round == 40 for known in apart)
        field.network.heal(a.node, b.node)
        await asyncio.sleep(60)
        heads = [(await core.jobs.load(job)).head() for core in (a, b)]
        assert heads[0] is not None
        assert heads[0] == heads[1]
        graph = (await a.jobs.load(job)).view.graph
        assert any(point.is_merge for point in graph.ancestors(heads[0].id))
        await field.close()

    run(main(), until_s=36000)


def head(core: Core, job: JobId) -> Point:
    found = core.jobs.runners[job].head()
    assert found is not None
    return found


def test_a_job_asked_for_here_is_opened_however_many_go_on() -> None:
    async def main() -> None:
        field = SmallField("a", limits=FEW)
        await field.start()
        asked = [field.ask("a", min_nodes=3) for _ in range(9)]
        core = field.cores["a"]
        assert asked[-1] in core.jobs.runners
        assert len(core.jobs.runners) == FEW.in_memory
        await field.close()

    run(main(), until_s=36000)


def long_history(field: SmallField, job: JobId, rounds: int) -> None:
    """Rounds that b knows of a job besides those that it has."""
    store = field.stores["b"]
    of_kind = {kind: [decode(unpack(s.wire).body) for s in store.select(kind, job)] for kind in REACTIONS}
    last = max(of_kind["commit"], key=lambda c: c.round)
    parent = next(s.id for s in store.select("commit", job) if decode(unpack(s.wire).body) == last)
    [plan, *_], [update, *_] = of_kind["plan"], of_kind["update"]
    graph = Graph()
    for kind in ("commit", "merge"):
        for stored in store.select(kind, job):
            signed = unpack(stored.wire)
            graph.add(stored.id, signed.author, decode(signed.body))  # type: ignore[arg-type]
    asker = graph.points[parent].roster[0]
    signers = {identity.node: identity for identity in map(PretendIdentity, "ab")}
    sequences = {folded.node: folded.sequence for folded in last.folded}

    def keep(author: NodeId, record: Record) -> bytes:
        record_id, wire = seal(signers[author], record)
        store.add(record_id, record.KIND, job, wire, author)
        return record_id

    for round_ in range(last.round + 1, last.round + 1 + rounds):
        sequences = {node: sequence + 1 for node, sequence in sequences.items()}
        keep(asker, replace(plan, parent=parent, round=round_))
        for folded in last.folded:
            number = {"incarnation": folded.incarnation, "sequence": sequences[folded.node]}
            keep(folded.node, replace(update, base=parent, base_round=round_ - 1, **number))
        last = replace(
            last,
            parents=(parent,),
            round=round_,
            folded=tuple(replace(f, sequence=sequences[f.node]) for f in last.folded),
            joined=(),
            digest=b"",
            age_s=last.age_s + 1.0,
        )
        last = graph.completed(last, asker)
        parent = keep(asker, last)
        graph.add(parent, asker, last)


def test_a_huge_job_is_read_a_slice_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else the node does has its turn between two slices, and what comes meanwhile is not missed."""
    absorb, turns = JobView.absorb, [0]

    def counted(self: JobView, entry: Entry) -> list[Point]:
        turns[-1] += 1
        return absorb(self, entry)

    async def main() -> None:
        field = SmallField("ab", limits=FEW)
        jobs = await some(field, 5)
        core, job = field.cores["b"], jobs[0]
        assert job in core.jobs.retired()
        long_history(field, job, 600)
        monkeypatch.setattr(JobView, "absorb", counted)
        offer = Offer(job, 1, 99, 10, 0.05)

        head = core.store.select("commit", job)[0].id
        core.ledger.publish(Contribution(job, head, 7, False, 0.0, b""))
        while job not in core.jobs.runners:
            turns.append(0)
            if len(turns) == 5:
                core.ledger.publish(offer)  # of a kind that was read already
            await asyncio.sleep(0)
        runner = await core.jobs.load(job)
        assert len(runner.view.graph.points) == len(core.store.select("commit", job)) > 600
        assert runner.view.offers[core.node] == offer
        assert len(runner.view.updates) < 200  # older ones are forgotten while it is read
        assert max(turns) <= SLICE
        assert len([n for n in turns if n]) > 2400 // SLICE
        await field.close()

    run(main(), until_s=36000)
