"""The coordinator's loop: decides whether this node coordinates; merges branches, runs rounds, ends the job.

Any participant can run this loop; it looks at the view, does the next thing that is due, and waits for a
change.  Nothing it remembers is needed to go on: a restarted or another coordinator derives the same from the
records.
"""

from __future__ import annotations

import asyncio

from muster.history.point import Point
from muster.job.context import Context
from muster.job.coordinator.commit_writer import CommitWriter
from muster.job.coordinator.evaluation import HeadEvaluator
from muster.job.coordinator.lingering import Lingering
from muster.job.coordinator.reach import Reach
from muster.job.coordinator.round_planner import RoundPlanner
from muster.job.coordinator.rounds import Rounds
from muster.job.coordinator.state import CoordinatorState
from muster.job.models.job_fetcher import JobFetcher
from muster.job.models.pruning import wider_than
from muster.job.models.store import ModelStore
from muster.job.roles import coordinator
from muster.job.view import JobView
from muster.job.waits import Wait
from muster.network.supervisor import Pulse
from muster.planning.pruning import width_at
from muster.protocol.ids import CommitId, NodeId
from muster.protocol.parts import Discarded
from muster.storage.store import StorageError

AFTER_THE_END = "after the end of the job"
WAIT_MIN_S, WAIT_MAX_S = 0.05, 1.0  # between two looks when nothing is heard
STEP_MAX_S = 600.0  # adding up many large models on a small device; the loop is not stuck meanwhile
REST_S = 20.0  # the same once the job has ended
CALM_S, CALM_MAX_S = 0.5, 3.0  # before a merge: no new heads for so long, but no longer than that in all


class Coordinator:
    """Coordinates one job while this node is the best-ranked in reach."""

    def __init__(
        self, context: Context, view: JobView, models: ModelStore, fetcher: JobFetcher, commits: CommitWriter,
        evaluation: HeadEvaluator, planner: RoundPlanner, state: CoordinatorState, *, since_s: float,
    ) -> None:  # fmt: skip
        """`since_s`: since when this process follows the job (loop time); before that others may have gone on
        with it. Minus infinity: it was made here in this life of the process."""
        self._context, self._view, self._models, self._fetcher = context, view, models, fetcher
        self._commits, self._state, self._since_s = commits, state, since_s
        self._apart_since_s: float | None = None  # since when there is more than one head
        self._apart: tuple[list[CommitId], float] = ([], 0.0)  # which, and since when these
        self._late: tuple[int, float] = (0, 0.0)  # updates left over after the end, since when so many
        self._reach = Reach(context, view, state)
        self._lingering = Lingering(context, view)
        self._rounds = Rounds(
            context, view, models, fetcher, commits, evaluation, planner, self._lingering, self._reach, state,
            lambda head: self._still([head]),
        )  # fmt: skip

    async def run(self, pulse: Pulse) -> None:
        """Until cancelled."""
        changes, state, presence = self._context.changes, self._state, self._context.presence
        while True:
            pulse.renew(STEP_MAX_S)
            if (settling_s := presence.settling_s()) > 0:  # this process stood still: what came is read first
                await changes.wait(settling_s)
                continue
            try:
                for head in self._models.heads():
                    await self._models.sound(head.id)
                due_s = await self._step()
                state.blocked = presence.blocked = False
            except StorageError as error:
                if not state.blocked:
                    self._context.event("error", f"cannot coordinate: {error}", job=self._view.id)
                state.blocked = presence.blocked = True
                state.acting, due_s = False, WAIT_MAX_S
            pulse.renew(REST_S if self.rests() else WAIT_MAX_S)
            if due_s == 0.0:
                await asyncio.sleep(0)
            elif due_s is None:
                await changes.wait(REST_S if self.rests() else WAIT_MAX_S)
            else:
                await changes.wait(min(WAIT_MAX_S, max(WAIT_MIN_S, due_s)))

    def waits_for(self) -> Wait | None:
        """What the round that this node coordinates waits for."""
        if not self._state.acting:
            return None
        owed = self._lingering.sentence()
        return Wait(f"{owed}, as this round is the last", logged=True) if owed else self._rounds.waits_for

    def outside(self) -> list[Wait]:
        """Who could help and does not, and why, where this node coordinates."""
        return self._rounds.assistance.outside() if self._state.acting else []

    def rests(self) -> bool:
        """Whether nothing is left to do here, as far as this node knows."""
        heads = self._models.heads()
        return len(heads) == 1 and not self._state.blocked and self._view.finished(heads[0]) is not None

    async def _step(self) -> float | None:
        """Do what is due; seconds until something may be due again (None: at the next change)."""
        heads, state = self._models.heads(), self._state
        if not heads:
            return None
        if not all(self._models.checked(h.id) for h in heads):  # another one came meanwhile
            return 0.0
        state.acting = self._is_mine(heads)
        if not state.acting or any(self._models.form_of(h.id) is None for h in heads):
            return None
        if len(heads) > 1:
            wait_s = self._until_calm(heads)
            if wait_s > 0:
                return wait_s
            await self._commits.merge(heads[0], heads[1], lambda: self._still(heads))
            return 0.0
        self._apart_since_s = None
        head = heads[0]
        if head.id != state.head_id:
            state.head_id, state.head_since_s = head.id, self._context.now()
        if self._view.closing_due(head):
            return await self._close_unmeasured(head)
        if self._view.finished(head) is not None:
            return await self._close(head)
        form, width = self._models.form_of(head.id), width_at(self._view.job.prune, head.round)
        if form is not None and wider_than(form, width):
            await self._commits.prune(head, width, lambda: self._still([head]))
            return 0.0
        if self._out_of_time(head):
            linger_s = self._rounds.linger_s(head)
            if linger_s > 0:
                return linger_s
            return await self._rounds.close(head, self._rounds.arrived(head))
        plan = self._view.plans.get(head.id, {}).get(self._context.node)
        return await (self._rounds.plan(head) if plan is None else self._rounds.follow(head, plan))

    def _still(self, heads: list[Point]) -> bool:
        """Whether these are still the heads, and this node's to go on with: asked after a wait."""
        now = self._models.heads()
        return [h.id for h in now] == [h.id for h in heads] and self._is_mine(now)

    # ---- who coordinates ----------------------------------------------------------------------------

    def _is_mine(self, heads: list[Point]) -> bool:
        """Whether this node coordinates: it is the best-ranked in reach, or does not hold that one's head."""
        me = self._context.node
        best = coordinator(self._view, heads[0], self._reach.able)
        if best == me:
            listened_s = self._context.now() - self._since_s
            return self._state.acting or listened_s >= self._view.job.patience_s
        if best is None or not self._state.acting:
            return False
        theirs = any(self._line_author(h) == best for h in heads)
        planned = any(best in self._view.plans.get(h.id, {}) for h in heads)
        return not (theirs or planned)

    def _line_author(self, head: Point) -> NodeId:
        """The author of the newest commit of a head's line."""
        while head.is_merge:
            head = self._view.graph.points[head.parents[0]]
        return head.author

    # ---- merging ------------------------------------------------------------------------------------

    def _until_calm(self, heads: list[Point]) -> float:
        """Seconds to wait before a merge. After a contact another branch comes in pieces: only its last
        commit is to be merged, not each."""
        now, ids = self._context.now(), [h.id for h in heads]
        if self._apart_since_s is None:
            self._apart_since_s = now
        if ids != self._apart[0]:
            self._apart = (ids, now)
        return min(self._apart[1] + CALM_S, self._apart_since_s + CALM_MAX_S) - now

    # ---- the end ------------------------------------------------------------------------------------

    def _out_of_time(self, head: Point) -> bool:
        seconds = self._view.job.stop.seconds
        return seconds is not None and self._commits.age_s(head) >= seconds

    async def _close_unmeasured(self, head: Point) -> float:
        """Close with the best model by what is known if no evaluation chose one within `patience_s`. In a job
        for nodes with a like need none does: it takes the mean of its last models unseen."""
        view, models = self._view, self._models
        if not view.job.like:
            wait_s = self._state.head_since_s + view.job.patience_s - self._context.now()
            if wait_s > 0:
                return wait_s
        best = view.best_before(head, models.held) or head
        blob = models.blob_of(best.id)
        assert blob is not None
        if view.job.like and view.job.recipe.average > 1:
            blob, _ = await self._commits.mean_of_line(head)
            if not (self._still([head]) and view.closing_due(head)):
                return 0.0
        self._commits.close(head, blob)
        return 0.0

    async def _close(self, head: Point) -> float | None:
        """Discard the updates that came after the end, once no more seem to come."""
        late = self._fetcher.uncounted(head)
        if not late:
            return None
        now = self._context.now()
        if self._late[0] != len(late):
            self._late = (len(late), now)
        wait_s = max(self._late[1], self._state.head_since_s) + self._view.job.patience_s - now
        if wait_s > 0:
            return wait_s
        return await self._rounds.close(head, [], tuple(Discarded(*u.key, AFTER_THE_END) for u in late))
