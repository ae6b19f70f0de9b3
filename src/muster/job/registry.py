"""Keeps the jobs that a node knows, fed from the ledger: those that go on and the last that ended in memory,
with one view and one runner each, all others in the store.

A job is loaded again when a record of it comes, or when somebody asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from muster.job.context import Context
from muster.job.following import history_fault
from muster.job.forwarding import JobForwarding
from muster.job.loader import Loader
from muster.job.models.blob_hints import BlobHints
from muster.job.participant.trainer_slot import TrainerSlot
from muster.job.retirement import retired as retirement
from muster.job.retirement import set_aside
from muster.job.retirement.left_out import LeftOut
from muster.job.retirement.reading import JobReader
from muster.job.retirement.retired import JobLimits, StoredJobs
from muster.job.standing import Standing, job_stands
from muster.job.view import JobView
from muster.job.waits import call_for_help
from muster.network.supervisor import Pulse, describe
from muster.network.sync.ledger import Entry
from muster.protocol.ids import BlobId, JobId, NodeId, RecordId, short
from muster.protocol.records import Job, Revocation
from muster.protocol.versions import Unknown
from muster.storage.store import StorageError

if TYPE_CHECKING:
    from muster.job.runner import JobRunner


class JobRegistry:
    """Opens a runner for each job, gives it the job's records as they come, and closes it when it is done."""

    def __init__(
        self, context: Context, hints: BlobHints, forwarding: JobForwarding, limits: JobLimits | None = None
    ) -> None:
        """`hints` learns from where blobs may be had, `forwarding` which jobs there are."""
        self._context, self._hints, self._forwarding = context, hints, forwarding
        self._limits = limits or JobLimits()
        self.runners: dict[JobId, JobRunner] = {}  # in the order in which the jobs came
        self._order: dict[JobId, int] = {}  # of all known jobs: the sequence number of their record
        self._stored = StoredJobs(context.store, context.policy.disk_limit_bytes)
        self._reader = JobReader(context, self._learn_and_take_in)
        self._at_rest: dict[JobId, float] = {}  # of those in memory: loop time since when
        self._news_s: dict[JobId, float] = {}  # of those in memory: when the last record came
        self._aside: dict[JobId, dict[RecordId, str]] = {}  # of those in memory
        self._strikes: dict[JobId, set_aside.Strikes] = {}
        self._doubtful: dict[JobId, Entry] = {}  # asked for by revoked members, and nobody took part so far
        self._loader = Loader(context)
        self._slot = TrainerSlot()
        self._left_out = LeftOut(context)

    def start(self) -> None:
        """Load what the store has and is not at rest, then listen."""
        store = self._context.store
        unsettled = retirement.unsettled(store) | self._context.ledger.understood
        going_on: list[Entry] = []
        for entry in self._context.ledger.load(Job.KIND):
            if not self._stands(entry):
                continue
            self._order[entry.id] = entry.sequence
            retired = None if entry.id in unsettled else retirement.load(store, entry.id)
            if retired is None:
                going_on.append(entry)
            else:
                self._stored.needs[entry.id] = retired.needs
        room = self._limits.in_memory
        self._stored.waiting |= {entry.id: None for entry in going_on[:-room]}
        for entry in going_on[-room:]:
            self._tell(entry)
            self._open(entry)
        self._context.ledger.history_fault = partial(history_fault, self.runners)
        self._context.ledger.listeners.append(self._on_record)
        self._context.supervisor.keep("looking after jobs", self._look_after)

    async def close(self) -> None:
        """End the loops of all jobs."""
        self._reader.cancel()
        await asyncio.gather(*(runner.close() for runner in self.runners.values()), return_exceptions=True)

    def find(self, prefix: str) -> list[JobId]:
        """Jobs whose id begins with the hex digits `prefix`, in the order in which they came."""
        found = [job for job in self._order if job.hex().startswith(prefix.lower())]
        return sorted(found, key=self._order.__getitem__)

    async def load(self, job: JobId) -> JobRunner:
        """The runner of a job, which is loaded if it is not in memory.

        Raises KeyError for one that is unknown, or cannot be read now."""
        if job not in self.runners:
            self._load_soon(job)
            if job in self._reader.reading:
                await asyncio.wait([self._reader.reading[job]])
        return self.runners[job]

    def stored_count(self) -> int:
        """How many jobs are not in memory."""
        return len(self._order) - len(self.runners)

    def retired(self) -> list[JobId]:
        """Jobs that are in the store only, in the order in which they came."""
        return sorted(self._order.keys() - self.runners.keys(), key=self._order.__getitem__)

    def _on_record(self, entry: Entry) -> None:
        if isinstance(entry.record, Unknown):
            return
        if isinstance(entry.record, Revocation):
            self._expel(entry.record.node)
        if isinstance(entry.record, Job):
            if entry.id not in self._order and self._stands(entry):
                self._order[entry.id] = entry.sequence
                self._loader.when_loaded(entry.id, partial(self._begin, entry))
            return
        job: JobId = getattr(entry.record, "job", b"")
        if job in self._doubtful and self._may_stand(entry, job) and self._stands(self._doubtful[job]):
            self._on_record(self._doubtful.pop(job))
            return
        runner = self.runners.get(job)
        if runner is not None:
            self._absorb(runner, entry)
        elif job in self._order and job not in self._loader:  # what came before is found in the store
            self._come_back(job)

    def _may_stand(self, entry: Entry, job: JobId) -> bool:
        """Whether a record can make a doubtful job count; records of revoked members cannot."""
        trust = self._context.ledger.trust
        return not trust.revoked(entry.author) or trust.stands(job)

    def _stands(self, entry: Entry) -> bool:
        """Whether a job counts; that of a revoked asker is looked at again when somebody takes part."""
        if job_stands(self._context.ledger, entry):
            return True
        self._doubtful[entry.id] = entry
        return False

    def _expel(self, node: NodeId) -> None:
        """A member was revoked: jobs with records of it are read again, with what still counts of them."""
        for job, runner in list(self.runners.items()):
            stored = self._context.store.get(job) if runner.view.asker == node else None
            if stored is not None and not self._stands(self._context.ledger.entry_of(stored)):
                self._forget(job)
                del self._order[job]
            elif runner.view.standing.concerns(node):
                self._reopen_soon(job)

    def end_work(self) -> None:
        """This node acts no more: its jobs are read again, and its part in them is over."""
        for job in self.runners:
            self._reopen_soon(job)

    def _begin(self, entry: Entry) -> None:
        """A job that was not known: it is opened if there is room, or can be made."""
        if entry.id in self.runners:  # somebody asked for it while what it needs was loaded
            return
        made_here = entry.source == b""  # its user follows it
        if self._make_room(at_once=made_here):
            self._tell(entry)
            self._open(entry, fresh=made_here)
            self._context.publish_status_now()
        else:
            self._stored.waiting[entry.id] = None
            text = f"the job waits until one of {len(self.runners)} others ends or stands still here"
            self._context.event("job", text, job=entry.id)

    def _come_back(self, job: JobId) -> None:
        """A record came of a job that is not in memory."""
        if job not in self._stored.waiting:
            with contextlib.suppress(StorageError):  # then `retirement.unsettled` knows
                retirement.forget(self._context.store, job)
            self._stored.waiting[job] = None
        if self._make_room():
            self._load_soon(job)

    def _absorb(self, runner: JobRunner, entry: Entry) -> None:
        job = runner.view.id
        if entry.id not in self._aside[job]:
            self._news_s[job] = self._context.now()
            self._at_rest.pop(job, None)
            self._hints.learn(entry)
            if not self._take_in(runner.view, entry):
                self._reopen_soon(job)
            self._left_out.name(runner.view)
        self._context.transfers.poke()
        self._context.changes.notify()

    def _take_in(self, view: JobView, entry: Entry) -> bool:
        """False: the record is set aside, and what it left half done in the view must go."""
        try:
            view.absorb(entry)
        except Exception as error:
            self._context.supervisor.fault(f"taking in a record of job {short(view.id)}", error, job=view.id)
            self._set_aside(view.id, entry.id, describe(error))
            return False
        return True

    def _learn_and_take_in(self, view: JobView, entry: Entry) -> bool:
        self._hints.learn(entry)
        return self._take_in(view, entry)

    def _failed(self, job: JobId, error: Exception) -> None:
        """A loop of a job failed: perhaps on one record, again and again."""
        runner = self.runners.get(job)
        if runner is None:
            return
        record = self._strikes.setdefault(job, set_aside.Strikes()).out(
            error, runner.view, self._context.node
        )
        if record is not None and record not in self._aside[job]:
            self._set_aside(job, record, describe(error))
            self._reopen_soon(job)

    def _set_aside(self, job: JobId, record: RecordId, reason: str) -> None:
        self._aside[job][record] = reason
        with contextlib.suppress(StorageError):  # then the next start finds it out again
            set_aside.add(self._context.store, job, record, reason)
        text = f"sets aside the record {short(record)}, on which the job fails here ({reason})"
        self._context.event("error", text, job=job)

    def _reopen_soon(self, job: JobId) -> None:
        self._context.supervisor.once(f"loading job {short(job)} again", self._reopen(job))

    async def _reopen(self, job: JobId) -> None:
        """Load a job again, without what is set aside."""
        runner = self.runners.get(job)
        if runner is not None:
            await runner.close()
            if self.runners.get(job) is runner:
                del self.runners[job]
                self._load_soon(job, runner.since_s)

    def _tell(self, entry: Entry) -> None:
        assert isinstance(entry.record, Job)
        name = self._context.name_of(entry.author)
        self._context.event("job", call_for_help(name, entry.record), job=entry.id)

    def _open(self, entry: Entry, *, fresh: bool = False) -> None:
        """Load a job with all of its records, and begin its loops. `fresh`: it was made here, just now."""
        since_s = -inf if fresh else self._context.now()
        self._opened(self._reader.now(entry.id, *self._beginning(entry, since_s)))

    def _load_soon(self, job: JobId, since_s: float | None = None) -> None:
        """The same with a job that is known and not in memory, a slice of its records after the other.
        `since_s`: loop time since which this process follows it; None: from now on."""
        stored = self._context.store.get(job) if job in self._order else None
        if stored is None or job in self._reader.reading:
            return
        self._make_room()

        def opened(runner: JobRunner) -> None:
            at_rest = job not in self._stored.waiting
            self._opened(runner)
            if at_rest:
                self._at_rest[job] = self._context.now()

        since_s = self._context.now() if since_s is None else since_s
        self._reader.soon(job, *self._beginning(self._context.ledger.entry_of(stored), since_s), opened)

    def _beginning(self, entry: Entry, since_s: float) -> tuple[Callable[[], JobRunner], dict[RecordId, str]]:
        """What begins a job without records, and which of its records it does without."""
        from muster.job.runner import JobRunner

        context, job, asked = self._context, entry.id, entry.record
        assert isinstance(asked, Job)
        self._hints.learn(entry)

        def begin() -> JobRunner:
            others = partial(self._needed_besides, job)
            trust = context.ledger.trust
            standing = Standing(context.node, trust.authority, context.out, trust.stands)
            view = JobView(job, asked, entry.author, standing=standing)
            return JobRunner(context, view, self._slot, since_s=since_s, needed_by_others=others)

        aside = self._aside[job] = set_aside.load(context.store, job)
        return begin, aside

    def _opened(self, runner: JobRunner) -> None:
        context, job = self._context, runner.view.id
        self._stored.forget(job)
        self._news_s[job] = context.now()
        self.runners[job] = runner
        ordered = sorted(self.runners, key=self._order.__getitem__)
        if ordered[-1] != job:
            self.runners = {other: self.runners[other] for other in ordered}
        self._forwarding.add(runner.view, runner.models)
        runner.start(partial(self._failed, job))
        self._left_out.name(runner.view)
        context.transfers.poke()
        context.changes.notify()

    def _needed_besides(self, job: JobId) -> set[BlobId]:
        """Blobs that the other jobs of this node cannot do without."""
        needs = [runner.needs() for other, runner in self.runners.items() if other != job]
        return set().union(*needs, *self._stored.needs.values())

    def _make_room(self, *, at_once: bool = False) -> bool:
        """Whether there is room in memory for one more job, perhaps after another one left; `at_once`: which
        need not have stood still for long."""
        limits, now = self._limits, self._context.now()
        if len(self.runners) + len(self._reader.reading) < limits.in_memory:
            return True
        quiet_s = 0.0 if at_once else limits.quiet_s
        quiet = sorted(self._news_s, key=self._news_s.__getitem__)
        for job in [*self._at_rest, *(j for j in quiet if now - self._news_s[j] >= quiet_s)]:
            if self.runners[job].may_leave() and self._retire(job):
                return True
        return False

    def _retire(self, job: JobId) -> bool:
        """Take a job out of memory; False: that cannot be noted now."""
        from muster.job.retirement.retiring import summary

        runner = self.runners[job]
        try:
            retired, rests = summary(runner), runner.rests()
            if rests:
                retirement.keep(self._context.store, job, retired)
        except Exception as error:
            self._context.supervisor.fault(f"retiring job {short(job)}", error, job=job, first_only=True)
            return False
        if not rests:
            self._stored.waiting[job] = None
        self._stored.needs[job] = retired.needs
        self._forget(job)
        return True

    def _forget(self, job: JobId) -> None:
        """Take a job out of memory."""
        runner = self.runners.pop(job)
        for table in (self._at_rest, self._news_s, self._aside, self._strikes):
            table.pop(job, None)
        self._left_out.forget(job)
        self._forwarding.remove(job)
        self._context.supervisor.once(f"closing job {short(job)}", runner.close())

    async def _look_after(self, pulse: Pulse) -> None:
        while True:
            pulse.renew(self._limits.look_s)
            await asyncio.sleep(self._limits.look_s)
            self._retire_some()
            while self._stored.waiting and self._make_room():
                await self.load(next(iter(self._stored.waiting)))
            self._stored.delete_old_models(lambda: self._needed_besides(b""))

    def _rests(self, runner: JobRunner) -> bool:
        try:
            return runner.rests()
        except Exception as error:  # a fault in one job keeps no other from leaving
            self._context.supervisor.fault(
                f"looking after job {short(runner.view.id)}", error, first_only=True
            )
            return False

    def _retire_some(self) -> None:
        """Of the jobs at rest the last few stay in memory."""
        now, limits = self._context.now(), self._limits
        for job, runner in self.runners.items():
            if not self._rests(runner):
                self._at_rest.pop(job, None)
            elif job not in self._at_rest:
                self._at_rest[job] = now
        for job, since_s in list(self._at_rest.items())[: -limits.at_rest or None]:
            if now - since_s >= max(limits.rest_s, 2 * self.runners[job].view.job.patience_s):
                self._retire(job)
