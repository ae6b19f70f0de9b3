"""Reads a job's kept records into memory, some at a time: a job of thousands of rounds holds nothing up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator, Iterator
from typing import TYPE_CHECKING

from muster.job.context import Context
from muster.job.reactions import REACTIONS
from muster.job.view import JobView
from muster.network.sync.ledger import Entry
from muster.protocol.ids import JobId, RecordId, short

if TYPE_CHECKING:  # with numpy, which an idle daemon does without
    from muster.job.runner import JobRunner

SLICE = 250  # records that are taken in at once: some 10 ms


class JobReader:
    """Begins runners of jobs with all that the store has of them."""

    def __init__(self, context: Context, take_in: Callable[[JobView, Entry], bool]) -> None:
        """`take_in` returns False when it sets a record aside, and the job is begun once more."""
        self._context, self._take_in = context, take_in
        self.reading: dict[JobId, asyncio.Task[None]] = {}

    def now(self, job: JobId, begin: Callable[[], JobRunner], aside: Collection[RecordId]) -> JobRunner:
        """What `begin` makes, with all records of the job but for those that are set aside."""
        read: list[JobRunner] = []
        for _ in self._slices(job, begin, aside, read.append):
            pass
        return read[0]

    def soon(
        self,
        job: JobId,
        begin: Callable[[], JobRunner],
        aside: Collection[RecordId],
        opened: Callable[[JobRunner], None],
    ) -> None:
        """Call `opened` with the same: at once if there are few records, else others have their turns between
        two slices."""
        slices = self._slices(job, begin, aside, opened)
        if next(slices, job) != job:
            rest = self._context.supervisor.once(f"reading job {short(job)}", self._rest(slices))
            self.reading[job] = rest
            rest.add_done_callback(lambda _: self.reading.pop(job, None))

    def cancel(self) -> None:
        for task in self.reading.values():
            task.cancel()

    async def _rest(self, slices: Iterator[None]) -> None:
        for _ in slices:
            await asyncio.sleep(0)

    def _slices(
        self,
        job: JobId,
        begin: Callable[[], JobRunner],
        aside: Collection[RecordId],
        opened: Callable[[JobRunner], None],
    ) -> Iterator[None]:
        runner = begin()
        while not (yield from self._read(job, runner, aside)):
            runner = begin()
        opened(runner)

    def _read(
        self, job: JobId, runner: JobRunner, aside: Collection[RecordId]
    ) -> Generator[None, None, bool]:
        """Returns False when all must be read again. The last slice ends with nothing left in the store."""
        read_up_to, room, rest = dict.fromkeys(REACTIONS, 0), SLICE, True
        trust = self._context.ledger.trust
        revocations = trust.revocations
        while rest:
            rest = False
            for kind in REACTIONS:
                while found := self._context.ledger.load_slice(kind, job, read_up_to[kind], room):
                    entries, read_up_to[kind] = found
                    if not all(self._take_in(runner.view, e) for e in entries if e.id not in aside):
                        return False
                    room -= max(1, len(entries))
                    if room <= 0:
                        runner.tidy()
                        yield
                        room, rest = SLICE, True  # more records may have come meanwhile
        return trust.revocations == revocations  # else other records count now
