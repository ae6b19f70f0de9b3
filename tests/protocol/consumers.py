"""Everything that reads records, without the waiting: one node's parts, given records one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

import msgspec
import numpy as np
from poisoned import Homes, clone, compresses, homes, read, signed
from tables import NAMES

from generators import Around
from muster.algorithms.learning_rate import learning_rate
from muster.history.point import Point
from muster.job.context import TrainingResult
from muster.job.coordinator.commit_writer import RoundEnd
from muster.job.models.payloads import payload_held
from muster.job.owner.allowance import Left
from muster.job.participant.trainer_slot import TrainerSlot
from muster.job.participant.update_writer import UpdateWriter, node_seed
from muster.job.roles import min_nodes, newest, open_plans, pieces
from muster.job.runner import JobRunner
from muster.job.view import JobView
from muster.network.change_signal import ChangeSignal
from muster.network.sync.admission import Admission
from muster.network.sync.ledger import Entry, Ledger
from muster.protocol.envelope import decode, encode
from muster.protocol.ids import NOBODY, NodeId, RecordId
from muster.protocol.parts import Cost, Steering
from muster.protocol.records import Job, Record
from muster.simulation.trainers.base import SimFacts
from muster.simulation.virtual.lives import LivesLoop
from muster.simulation.world import World
from muster.storage.offload import inline

RECORDS_A_VIEW = 12  # of a generator, before it begins anew


class Consumers:
    """A node in the middle of a job, in a loop of its own; it reads after every `every` records; close it."""

    def __init__(self, every: int = 1) -> None:
        self._every = every
        self.fleet: Homes = homes(NAMES)
        self._loop = LivesLoop()
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        self.begin()
        points = tuple(self._view.graph.points.values())
        nodes = tuple(m.node for m in self._world.machines.values())
        self.around = Around(self.fleet.job, nodes, points)
        self.taken = self.refused = 0

    async def _open(self) -> None:
        world = self._world = World(self.fleet.spec)
        machine = world.machines["a"]
        machine.disk = clone(self.fleet.disks["a"])
        await machine.start()
        assert machine.core is not None
        self.core = machine.core
        await self.core.jobs.close()

    def close(self) -> None:
        self._loop.run_until_complete(self._world.close())
        asyncio.set_event_loop(None)
        self._loop.close()

    def begin(self) -> None:
        """Forget the records that were given."""
        self._loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        """A view, a ledger and a runner that know the job's own records and nothing else."""
        core = self.core
        store = clone(self.fleet.disks["a"])
        self._ledger = Ledger(store, core.ledger.signer, core.trust)
        context = replace(
            core.context, store=store, ledger=self._ledger, changes=ChangeSignal(), offload=inline,
            compute=lambda size_bytes: inline,
            event=lambda *a, **k: None,
            set_status=lambda *a: None, publish_status_now=lambda: None,
        )  # fmt: skip
        author, job = next(
            (author, r) for i, (author, r) in self.fleet.records.items() if i == self.fleet.job
        )
        assert isinstance(job, Job)
        self._view = JobView(self.fleet.job, job, author)
        self._context = context
        self._runner = JobRunner(
            context, self._view, TrainerSlot(), since_s=-inf, needed_by_others=set
        )  # fmt: skip
        self._ledger.listeners.append(self._absorb)
        for record_id, (author, record) in self.fleet.records.items():
            if getattr(record, "job", b"") == self.fleet.job:
                self._absorb(Entry(record_id, author, record, b"", 1, 100))
        self._mine = {self.fleet.job: self._runner}
        self._count = 0
        self._admission = Admission(self._find)
        self._extra: dict[RecordId, Record] = {}

    def _find(self, record_id: RecordId) -> Record | None:
        known = self.fleet.records.get(record_id)
        return self._extra.get(record_id) or (known[1] if known is not None else None)

    def _absorb(self, entry: Entry) -> None:
        if getattr(entry.record, "job", b"") == self.fleet.job:
            self._view.absorb(entry)

    def give(self, author: NodeId, record: Record) -> bool:
        """Give one record to all; whether it was taken. Raises what any of them raises."""
        try:
            body = encode(record)
        except OverflowError:  # beyond 64 bits there is no such record
            return False
        return self._loop.run_until_complete(self._give(author, decode(body)))

    async def _give(self, author: NodeId, record: Record) -> bool:
        if self._admission.fault(record, author) is not None:
            self.refused += 1
            return False
        self.taken += 1
        if self._count >= RECORDS_A_VIEW:
            await self._begin()
        self._count += 1
        record_id, wire = signed(author, record, (*NAMES, "authority"))
        self._extra[record_id] = record
        compresses(self.core, record_id, wire)
        if isinstance(record, Job):
            await self._other_job(author, record_id, record)
        self._absorb(Entry(record_id, author, record, b"", 1, len(wire)))
        if self._count % self._every == 0:
            await self._decide()
            await self._read()
        return True

    async def _other_job(self, author: NodeId, job_id: RecordId, job: Job) -> None:
        """Another job at its beginning."""
        for codec in ("codec", "down_codec"):
            assert isinstance(getattr(job.recipe, codec), str)
        view = JobView(job_id, job, author)
        for round_ in (1, 2, 1_000_000):
            learning_rate(job.recipe, round_, job.stop.rounds)
            node_seed(job.recipe.seed, self.core.node, round_)
        runner = JobRunner(self._context, view, TrainerSlot(), since_s=-inf, needed_by_others=set)
        facts = self._facts()
        runner.models.learn_layout(facts.layout)
        first = next(r for _, r in self.fleet.of_kind("commit") if not r.parents)  # type: ignore[union-attr]
        root = msgspec.structs.replace(first, job=job_id, joined=(author,))
        view.absorb(Entry(b"r" * 32, author, root, b"", 1, 100))
        offers = {n: self._view.offers[n] for n in self._view.offers}
        for node, offer in offers.items():
            offer = msgspec.structs.replace(offer, job=job_id)
            view.absorb(Entry(node, node, offer, b"", 1, 100))
        kept, self._view = self._view, view
        runners, self._mine = self._mine, {job_id: runner}
        mine, self._runner = self._runner, runner
        try:
            await self._decide()
            await self._read()
        finally:
            self._view, self._runner, self._mine = kept, mine, runners

    def allows(self, record: Record) -> bool:
        """Whether a record of this job would be taken."""
        try:
            record = decode(encode(record))
        except OverflowError:
            return False
        return self._admission.fault(record, NOBODY) is None and getattr(record, "job", b"") == self.fleet.job

    def view_after(self, entries: Sequence[Entry]) -> Any:
        """What a view is after the job's own records and these, as bytes that can be compared."""
        self.begin()
        for each in entries:
            self._absorb(each)
        view = self._view
        tables = [
            sorted(view.offers.items()), sorted(view.refusals.items()),
            sorted((k, v.id) for k, v in view.updates.items()),
            [(c, n, p.id) for c, plans in sorted(view.plans.items()) for n, p in sorted(plans.items())],
            [(c, sorted(ms.items())) for c, ms in sorted(view.measurements.items())],
            [(c, sorted(cs.items())) for c, cs in sorted(view.contributions.items())],
            sorted(view.graph.points), sorted(view.graph.refused.items()), view.stopped,
            sorted((p.round, p.id, p.age_s) for p in view.graph.points.values()),
        ]  # fmt: skip
        return msgspec.msgpack.encode(tables)

    def _facts(self) -> SimFacts:
        return SimFacts("linear", self._world.layout, 100, True)

    async def _decide(self) -> None:
        """What a coordinator, a participant and the collector do next."""
        view, runner = self._view, self._runner
        runner._state.acting = True
        for _ in range(3):
            await runner._coordinator._step()
        heads = runner.models.heads()
        if not heads:
            return
        head = newest(heads)
        view.figures(head.id)
        view.finished(head)
        view.closing_due(head)
        min_nodes(view, head)
        await self._participate(head)
        updates = [
            u for u in view.uncounted(head.counted) if payload_held(self._context.store, u.record.payload)
        ]
        if runner.models.layout is not None and head.round < 1_000_000:
            end = RoundEnd("quant8", 0.5, lambda update: Cost(900, 500, 60, "quant8", 9), (), Steering(20))
            await runner.commits.commit(head, updates[:20], (), end, lambda: True)
        runner._garbage._collected_s = -100.0
        runner._garbage.collect()
        runner.needs()
        view.trim(heads)

    async def _participate(self, head: Point) -> None:
        view, context = self._view, self._context
        facts = self._facts()
        writer = UpdateWriter(context, view, self._runner.models, facts)
        zeros = {spec.name: np.full(spec.shape, 0.5, spec.dtype) for spec in facts.layout.tensors}
        for plan in open_plans(view, context.node, lambda plan, piece: False, [head])[:2]:
            given = pieces(plan.record, context.node)[-1]
            learning_rate(view.job.recipe, plan.record.round, view.job.stop.rounds)
            trained = TrainingResult(given.steps, given.steps, 0.5, 0.1, zeros)
            await writer.keep_update(plan, given, given.codec, trained)
        writer.keep_offer(0.1, 1e9, Left())

    async def _read(self) -> None:
        jobs, runners = self.core.jobs, self.core.jobs.runners
        jobs.runners = self._mine
        try:
            await read(self.core)
        finally:
            jobs.runners = runners


def as_text(value: Any) -> str:
    """A short form for a report."""
    return repr(value)[:1500]
