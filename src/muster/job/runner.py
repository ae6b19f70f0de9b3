"""One job on one node: follow its history, gather updates, coordinate, work (design section 5).

Three loops over one view; each looks at the state, does what is due and waits for a change.  Following and
coordinating go on after the job has ended, so that a branch that comes home late is still merged; the trainer
child lives only while there is work.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from itertools import islice

import msgspec

from muster.compression.codec import CodecError
from muster.errors import MusterError
from muster.history.counted import Key
from muster.history.graph import Point
from muster.job.context import Context, TrainerLike
from muster.job.contribution_totals import ContributionTotals
from muster.job.coordinator.contribution_estimator import ContributionEstimator
from muster.job.coordinator.evaluation import HeadEvaluator
from muster.job.coordinator.loop import REST_S, Coordinator
from muster.job.models.fetching import STALL_S, JobFetcher
from muster.job.models.retention import collectable, delta_of, pinned, spent_payloads
from muster.job.models.store import ModelStore
from muster.job.participant.loop import ROOM_RETRY_S, Participant
from muster.job.participant.shared_trainer import SharedTrainer
from muster.job.view import JobView
from muster.protocol.records import BlobId, CommitId, Offer, Refusal, short
from muster.storage.store import StorageError

RESTARTS_MAX = 5  # of the trainer child, without an update in between
RESTART_DELAY_S = 1.0
COLLECT_S = 10.0
START_S = 60.0  # for the trainer to make the job's start from its seed; then it is fetched
ROOM_SHARE = 0.1  # of the disk limit that is made free when it is passed


class JobRunner:
    """Everything this node does for one job."""

    def __init__(
        self,
        context: Context,
        view: JobView,
        slot: asyncio.Lock,
        *,
        fresh: bool,
        needed_by_others: Callable[[JobRunner], set[BlobId]],
    ) -> None:
        """`needed_by_others(self)`: blobs that this node's other jobs cannot do without."""
        self.context, self.view, self._slot = context, view, slot
        self._needed_by_others = needed_by_others
        self.models = ModelStore(context, view)
        self.fetcher = JobFetcher(context, view, self.models)
        self.coordinator = Coordinator(
            context, view, self.models, self.fetcher,
            fresh=fresh, awaits_figures=lambda head: self.evaluation.awaits_figures(head),
        )  # fmt: skip
        self.evaluation = HeadEvaluator(
            context, view, self.models, self.coordinator.commits,
            head=self.head, acting=lambda: self.coordinator.acting,
        )  # fmt: skip
        self.participant: Participant | None = None
        self.contributions = ContributionEstimator(context, view, self.models)
        self.contribution_totals = ContributionTotals(view)
        self.waiting_for_slot = False
        self._opened_s = context.now()
        self._start_tried = False
        self.error: str | None = None
        self._said: Offer | Refusal | None = None  # whether this node takes part
        self._done_with: set[Key] = set()  # updates whose payloads are not needed here any more
        self._collected_s = -COLLECT_S
        # updates, heads and what was not valued yet, at the last time
        self._collected: tuple[int, list[CommitId], set[Key]] = (0, [], set())

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                group.create_task(self.coordinator.run())
                group.create_task(self._work())
        finally:
            await self.fetcher.close()

    def head(self) -> Point | None:
        """The head this node would train on: of several, the one with the most rounds."""
        heads = self.models.heads()
        return max(heads, key=lambda h: (h.round, h.id), default=None)

    def finished(self) -> str | None:
        head = self.head()
        return self.view.finished(head) if head else self.view.stopped

    def state(self) -> str:
        """One word for people: stopped, finished, waiting or running."""
        if self.view.stopped is not None:
            return "stopped"
        head = self.head()
        if head is not None and self.view.finished(head) and not self.view.closing_due(head):
            return "finished"
        return "waiting" if self.waiting_for_slot else "running"

    # ---- fetching -----------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Hold the parameters of every head that is known, and the payloads that are this node's to get."""
        while True:
            if self._unwilling() is None or self.view.asker == self.context.node:
                self.fetcher.fetch_heads(self._start_of_own())
            self.fetcher.fetch_payloads(self.head(), self.coordinator.acting)
            self._say_again()
            self._collect()
            await self.context.changes.wait(REST_S if self.coordinator.rests() else STALL_S)

    def _say_again(self) -> None:
        """What this node said before its disk was lost came back from others: what it says now is newer."""
        last = self.view.last_answer(self.context.node)
        if self._said is None or last is None:
            return
        if last.incarnation == self._said.incarnation:
            self._said = last
            return
        with contextlib.suppress(StorageError):
            self._said = msgspec.structs.replace(self._said, number=last.number + 1)
            self.context.ledger.publish(self._said)

    def _start_of_own(self) -> frozenset[CommitId]:
        """The job's start, while the trainer here may still make it from the seed: a model less to send."""
        if self._start_tried or self.context.now() - self._opened_s > START_S:
            return frozenset()
        points = self.view.graph.points.values()
        return frozenset(p.id for p in islice(points, 1) if not p.parents)

    async def _make_start(self, trainer: TrainerLike) -> None:
        """Whether the fresh model of the job's seed is what the job begins from, to the bit."""
        wanted = [c for c in self._start_of_own() if not self.models.held(c)]
        try:
            if wanted:
                before = {blob for blob, _ in self.context.store.blobs()}
                blob = await trainer.fresh(self.view.job.recipe.seed)
                used = blob in before or any(self.models.blob_of(c) == blob for c in wanted)
                if blob is not None and not used:  # the job begins from something else
                    self.context.store.delete_blob(blob)
                self.models.check(wanted)
        finally:
            self._start_tried = True
            self.context.changes.notify()

    def _collect(self) -> None:
        """Forget what is not needed any more."""
        now = self.context.now()
        if now < self._collected_s + COLLECT_S:
            return
        self._collected_s = now
        with contextlib.suppress(StorageError):  # a full disk may refuse even that
            self._forget_payloads()
            over_bytes = self.context.store.used_bytes() - self.context.policy.disk_limit_bytes
            if over_bytes > 0:
                self._make_room(over_bytes + self.context.policy.disk_limit_bytes * ROOM_SHARE)

    def _forget_payloads(self) -> None:
        """Of updates that the heads count; and the updates themselves, far behind the heads."""
        heads = self.models.heads()
        unvalued = self.contributions.keys()
        state = len(self.view.updates), [h.id for h in heads], unvalued
        if state == self._collected:
            return
        spent = set(spent_payloads(self.view, heads, self._done_with, unvalued))
        if spent:
            spent -= self._payloads_in_use() | self._needed_by_others(self)
        for blob in sorted(spent):
            self.context.store.delete_blob(blob)  # also what came of one that is not complete
        self.view.trim(heads)
        self._done_with &= self.view.updates.keys()
        self._collected = len(self.view.updates), *state[1:]

    def _make_room(self, bytes_: float) -> None:
        """Delete parameters far behind the heads."""
        store, models = self.context.store, self.models
        kept = self._needed_by_others(self) | self._being_measured()
        gone = []
        for blob in collectable(self.view.graph, self._needed_commits(), models.blob_of):
            size_bytes = store.blob_size(blob)
            if size_bytes is not None and blob not in kept and bytes_ > 0:
                gone.append(blob)
                bytes_ -= size_bytes
        models.drop(gone)

    def _needed_commits(self) -> set[CommitId]:
        working = self.participant.working_on if self.participant else None
        heads = {p.id: p for p in [*self.models.heads(), *self.models.known_heads()]}
        in_use = [*([working] if working else []), *self.contributions.bases(), *self.models.in_use()]
        return pinned(self.view.graph, heads.values(), in_use)

    def _payloads_in_use(self) -> set[BlobId]:
        """Of updates that no head counts yet, or to be valued yet; two updates may have the same bytes."""
        updates = self.view.updates.items()
        blobs = (u.record.payload.blob for key, u in updates if key not in self._done_with)
        return {blob for blob in blobs if blob is not None}

    def needs(self) -> set[BlobId]:
        """Blobs that this job cannot do without; other jobs of this node may have the same."""
        points = (self.view.graph.points[c] for c in self._needed_commits())
        blobs = {b for p in points for b in (self.models.blob_of(p.id), delta_of(p)) if b is not None}
        return blobs | self._payloads_in_use() | self._being_measured()

    def _being_measured(self) -> set[BlobId]:
        """Models that wait for their figures: a head may be none any more when the trainer comes to it."""
        return set(self.participant.trainer.evaluating) if self.participant is not None else set()

    # ---- working ------------------------------------------------------------------------------------

    async def _work(self) -> None:
        """Train as long as the job goes on; again when a late merge makes it go on."""
        context = self.context
        while True:
            reason = self._unwilling()
            if reason is not None:
                self._refuse(reason)
                return
            if self.finished() is None or self._lacks_layout():
                self.waiting_for_slot = True
                async with self._slot:
                    self.waiting_for_slot = False
                    if not await self._session():
                        return
            await context.changes.wait()

    def _lacks_layout(self) -> bool:
        """A node that comes when the job is over has to ask its trainer, or it cannot compute a merge."""
        return self.models.layout is None and any(h.is_merge for h in self.models.known_heads())

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
                self.context.set_status("preparing", 0.0, self.view.id, 0)
                trainer = await self.context.open_trainer(self.view.job.task)
                return await self._train_with(trainer)
            except (MusterError, CodecError) as error:  # no codec carries what was trained: it has diverged
                self._refuse(str(error))
                return False
            except StorageError as error:
                self.context.event("error", f"waits for room: {error}", job=self.view.id)
                await asyncio.sleep(ROOM_RETRY_S)
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
                self.context.set_status("idle", 0.0, b"", 0)

    async def _train_with(self, trainer: TrainerLike) -> bool:
        facts = await trainer.describe()
        if facts.fingerprint != self.view.job.fingerprint:
            self._refuse(
                f"the task {facts.name!r} here has fingerprint {short(facts.fingerprint)}, the job's has "
                f"{short(self.view.job.fingerprint)}: install the same version of the task on every node"
            )
            return False
        self.models.learn_layout(facts.layout)
        await self._make_start(trainer)
        self.context.changes.notify()
        if self.finished() is not None:
            return True
        shared = SharedTrainer(trainer, facts)
        participant = Participant(self.context, self.view, self.models, self.fetcher, shared)
        self.participant = participant
        await participant.offer()
        self._said = self.view.last_answer(self.context.node)
        self.context.changes.notify()
        loops = participant.run(), self._measure(participant), self.contributions.run(participant)
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return True

    async def _measure(self, participant: Participant) -> None:
        """Ends with the job."""
        await self.evaluation.run(participant)
        await self.contributions.finish()

    def _refuse(self, reason: str) -> None:
        self.error = reason
        if self.view.refusals.get(self.context.node) != reason:
            with contextlib.suppress(StorageError):  # said again after the next start
                number = self.view.next_number(self.context.node)
                self.context.ledger.publish(
                    Refusal(self.view.id, self.context.store.incarnation, number, reason)
                )
        self._said = self.view.last_answer(self.context.node)
        self.context.event("error", f"takes no part: {reason}", job=self.view.id)
