"""One job on one node: follow its history, gather updates, coordinate, work (design section 5).

Four loops over one view; each looks at the state, does what is due and waits for a change.  Following and
coordinating go on after the job has ended, so that a branch that comes home late is still merged; the trainer
child lives only while there is work.
"""

from __future__ import annotations

import asyncio
import contextlib

from muster.errors import MusterError
from muster.history.graph import Point
from muster.job.context import Context, TrainerLike
from muster.job.coordinate import STALL_S, Coordination
from muster.job.models import Models, WrongModel
from muster.job.participate import Participation
from muster.job.view import JobView
from muster.records import BlobId, CommitId, Refusal, short

RESTARTS_MAX = 5  # of the trainer child, without an update in between
RESTART_DELAY_S = 1.0
MEASURE_EXAMPLES = 2000  # of the common set in each round; the final model is measured on all of it
FETCHES_MAX = 64


class JobRunner:
    """Everything this node does for one job."""

    def __init__(self, context: Context, view: JobView, slot: asyncio.Lock) -> None:
        self.context, self.view, self._slot = context, view, slot
        self.models = Models(context, view)
        self.coordination = Coordination(context, view, self.models)
        self.participation: Participation | None = None
        self.waiting_for_slot = False
        self.error: str | None = None
        self._fetches: dict[bytes, asyncio.Task[None]] = {}
        self._measured_fully: set[CommitId] = set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                group.create_task(self._gather())
                group.create_task(self.coordination.run())
                group.create_task(self._work())
        finally:
            for task in self._fetches.values():
                task.cancel()
            await asyncio.gather(*self._fetches.values(), return_exceptions=True)

    def head(self) -> Point | None:
        """The head this node would train on: of several, the one with the most rounds."""
        heads = self.view.graph.heads(self.models.held)
        return max(heads, key=lambda h: (h.round, h.id), default=None)

    def finished(self) -> str | None:
        head = self.head()
        return self.view.finished(head) if head else self.view.stopped

    def state(self) -> str:
        """One word for people: stopped, finished, waiting or running."""
        if self.view.stopped is not None:
            return "stopped"
        if self.finished() is not None:
            return "finished"
        return "waiting" if self.waiting_for_slot else "running"

    # ---- fetching -----------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Hold the parameters of every head that is known."""
        while True:
            if self.participation is not None or self.view.asker == self.context.node:
                wanted = {h.id for h in self.view.graph.heads(lambda _: True) if not self.models.held(h.id)}
                for commit in list(self._fetches):
                    if commit not in wanted and commit in self.view.graph.points and self._stalled(commit):
                        self._fetches[commit].cancel()
                for commit in wanted:
                    self._start(commit, self._ensure(commit))
            await self.context.pulse.wait(STALL_S)

    async def _gather(self) -> None:
        """A coordinator pulls the payloads of updates that its head does not count yet."""
        while True:
            head = self.head()
            if head is not None and self.coordination.acting:
                for update in self.view.waiting(head.counted):
                    payload = update.record.payload
                    if payload.blob is not None and not self.context.store.has_blob(payload.blob):
                        self._start(payload.blob, self._fetch(payload.blob, payload.size_bytes))
            await self.context.pulse.wait(STALL_S)

    def _start(self, key: bytes, work: object) -> None:
        assert asyncio.iscoroutine(work)
        if key in self._fetches or len(self._fetches) >= FETCHES_MAX:
            work.close()
            return
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._fetches[key] = task
        task.add_done_callback(lambda _: self._done(key))

    def _done(self, key: bytes) -> None:
        task = self._fetches.pop(key, None)
        if task is not None and not task.cancelled() and task.exception() is not None:
            self.context.event("error", f"fetching failed: {task.exception()}", job=self.view.id)
        self.context.pulse.beat()

    async def _ensure(self, commit: CommitId) -> None:
        with contextlib.suppress(WrongModel):  # a merge before the layout is known: tried again later
            await self.models.ensure(commit)

    async def _fetch(self, blob: BlobId, size_bytes: int) -> None:
        await self.context.transfers.fetch(blob, size_bytes, rank=1)

    def _stalled(self, commit: CommitId) -> bool:
        blob = self.models.blob_of(commit)
        age_s = self.context.progress_age_s(blob) if blob else None
        return age_s is None or age_s > STALL_S

    # ---- working ------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Train as long as the job goes on; again when a late merge makes it go on."""
        context = self.context
        while True:
            reason = self._unwilling()
            if reason is not None:
                self._refuse(reason)
                return
            if self.finished() is None:
                self.waiting_for_slot = True
                async with self._slot:
                    self.waiting_for_slot = False
                    if not await self._session():
                        return
            await context.pulse.wait()

    def _unwilling(self) -> str | None:
        policy, task = self.context.policy, self.view.job.task
        if self.view.asker != self.context.node and not policy.accept:
            return "this node's policy is to take part in nobody's job"
        if policy.tasks is not None and task not in policy.tasks:
            return f"this node's policy does not allow the task {task!r}"
        if not self.context.installed(task):
            return f"the task {task!r} is not installed on this node"
        battery = self.context.battery()
        if battery is not None and battery < policy.battery_min:
            return f"the battery is at {battery:.0%}, below the policy's {policy.battery_min:.0%}"
        return None

    async def _session(self) -> bool:
        """One life of the trainer child after another; False when this node is out of the job."""
        failures = 0
        while True:
            trainer: TrainerLike | None = None
            before = len(self.view.updates)
            try:
                self.context.say("preparing", 0.0, self.view.id, 0)
                trainer = await self.context.open_trainer(self.view.job.task)
                return await self._train_with(trainer)
            except MusterError as error:
                self._refuse(error.sentence)
                return False
            except ChildProcessError as error:
                failures = 1 if len(self.view.updates) > before else failures + 1
                self.context.event("error", f"the trainer died: {error}", job=self.view.id)
                if failures > RESTARTS_MAX:
                    self._refuse(f"the trainer died {failures} times: {error}")
                    return False
                await asyncio.sleep(RESTART_DELAY_S * 2 ** (failures - 1))
            finally:
                if trainer is not None:
                    await trainer.close()
                self.context.say("idle", 0.0, b"", 0)

    async def _train_with(self, trainer: TrainerLike) -> bool:
        facts = await trainer.describe()
        if facts.fingerprint != self.view.job.fingerprint:
            self._refuse(
                f"the task {facts.name!r} here has fingerprint {short(facts.fingerprint)}, the job's has "
                f"{short(self.view.job.fingerprint)}: install the same version of the task on every node"
            )
            return False
        self.models.layout = facts.layout
        participation = Participation(self.context, self.view, self.models, trainer, facts)
        self.participation = participation
        await participation.offer()
        self.context.pulse.beat()
        tasks = [asyncio.create_task(participation.run()), asyncio.create_task(self._measure(participation))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return True

    async def _measure(self, participation: Participation) -> None:
        """The coordinator evaluates each head on the common set, the last one in full; ends with the job."""
        while True:
            head = self.head()
            reason = self.finished()
            if head is not None and self.coordination.acting and participation.facts.has_common:
                if self.view.figures(head.id) is None:
                    await participation.measure(head.id, MEASURE_EXAMPLES)
                    continue
                if reason is not None and head.id not in self._measured_fully:
                    self._measured_fully.add(head.id)
                    await participation.measure(head.id)
                    continue
            if reason is not None:
                return
            await self.context.pulse.wait()

    def _refuse(self, reason: str) -> None:
        self.error = reason
        if self.view.refusals.get(self.context.node) != reason:
            self.context.ledger.publish(Refusal(self.view.id, reason))
        self.context.event("error", f"takes no part: {reason}", job=self.view.id)
