"""The coordinator's side of a job: plan a round, wait by progress, say when it closes (design sections 5.2
to 5.8); what is then written is in `commit_writer`.

Any participant can run this loop; it looks at the view, does the next thing that is due, and waits for a
change.  Nothing it remembers is needed to go on: a restarted or another coordinator derives the same from the
records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from muster.history.graph import Point
from muster.job.context import Context
from muster.job.coordinator.codec_forecasts import CodecForecasts
from muster.job.coordinator.commit_writer import CommitWriter
from muster.job.coordinator.offer_window import OfferWindow
from muster.job.coordinator.round_times import RoundTimeModel
from muster.job.models.fetching import STALL_S, JobFetcher
from muster.job.models.payloads import payload_held
from muster.job.models.store import ModelStore
from muster.job.roles import ALONE_PATIENCES, coordinator, min_nodes
from muster.job.view import JobView, KnownPlan, KnownUpdate
from muster.planning.rounds import Missing, closing_in_s, hopeful, plan_round
from muster.protocol.records import Assignment, CommitId, Discarded, NodeId, Plan
from muster.storage.store import StorageError

AFTER_THE_END = "after the end of the job"
WAIT_MIN_S, WAIT_MAX_S = 0.05, 1.0  # between two looks when nothing is heard
REST_S = 20.0  # the same once the job has ended
CALM_S, CALM_MAX_S = 0.5, 3.0  # before a merge: no new heads for so long, but no longer than that in all
REPLACED_MAX = 8  # plans on one parent after the first
FIGURES_S = 60.0  # at most, for figures of a head when the round on it is all in


class Coordinator:
    """One node's coordinating of one job."""

    def __init__(
        self,
        context: Context,
        view: JobView,
        models: ModelStore,
        fetching: JobFetcher,
        *,
        fresh: bool,
        awaits_figures: Callable[[Point], bool],
    ) -> None:
        """`fresh`: the job was made here in this life of the process, so that nobody can have gone on.
        `awaits_figures`: whether figures of a head that may end the job are on their way."""
        self._context, self._view, self._models, self._fetcher = context, view, models, fetching
        self._fresh, self._awaits_figures = fresh, awaits_figures
        self._published_s: dict[bytes, float] = {}  # plan id -> when; only of the running round
        self._started_s = context.now()
        self._head_since_s = context.now()
        self._head_id = b""
        self._apart_since_s: float | None = None  # since when there is more than one head
        self._apart: tuple[list[CommitId], float] = ([], 0.0)  # which, and since when these
        self._late: tuple[int, float] = (0, 0.0)  # updates left over after the end, since when so many
        self.commits = CommitWriter(context, view, models)
        self._offer_window = OfferWindow(context, view, self.reachable)
        self._round_times = RoundTimeModel(context, view, models)
        self._forecasts = CodecForecasts(context, view, models)
        self.acting = False
        self.blocked = False  # the disk takes nothing: somebody else has to coordinate

    # ---- the loop -----------------------------------------------------------------------------------

    async def run(self) -> None:
        changes = self._context.changes
        while True:
            try:
                due_s = self._step()
                self.blocked = self._context.presence.blocked = False
            except StorageError as error:
                if not self.blocked:
                    self._context.event("error", f"cannot coordinate: {error}", job=self._view.id)
                self.blocked = self._context.presence.blocked = True
                self.acting, due_s = False, WAIT_MAX_S
            if due_s == 0.0:
                await asyncio.sleep(0)
            elif due_s is None:
                await changes.wait(REST_S if self.rests() else WAIT_MAX_S)
            else:
                await changes.wait(min(WAIT_MAX_S, max(WAIT_MIN_S, due_s)))

    def rests(self) -> bool:
        """Whether nothing is left to do here, as far as this node knows."""
        heads = self._models.heads()
        return len(heads) == 1 and not self.blocked and self._view.finished(heads[0]) is not None

    def _step(self) -> float | None:
        """Do what is due; seconds until something may be due again (None: at the next change)."""
        heads = self._models.heads()
        if not heads:
            return None
        self.acting = self._is_mine(heads)
        if not self.acting or self._models.layout is None:
            return None
        if len(heads) > 1:
            wait_s = self._until_calm(heads)
            if wait_s > 0:
                return wait_s
            self.commits.merge(heads[0], heads[1])
            return 0.0
        self._apart_since_s = None
        head = heads[0]
        if head.id != self._head_id:
            self._head_id, self._head_since_s = head.id, self._context.now()
        if self._view.closing_due(head):
            return self._close_late(head)
        if self._view.finished(head) is not None:
            return self._close(head)
        if self._out_of_time(head):
            self._commit(head, self._arrived(head))
            return 0.0
        plan = self._view.plans.get(head.id, {}).get(self._context.node)
        if plan is None:
            return self._plan(head)
        return self._round(head, plan)

    def _until_calm(self, heads: list[Point]) -> float:
        """After a contact another branch comes in pieces: the last one is to be merged, not each."""
        now, ids = self._context.now(), [h.id for h in heads]
        if self._apart_since_s is None:
            self._apart_since_s = now
        if ids != self._apart[0]:
            self._apart = (ids, now)
        return min(self._apart[1] + CALM_S, self._apart_since_s + CALM_MAX_S) - now

    def _arrived(self, head: Point) -> list[KnownUpdate]:
        """Updates that nothing counts yet, and whose payload is here."""
        store = self._context.store
        return [u for u in self._fetcher.uncounted(head) if payload_held(store, u.record.payload)]

    def _out_of_time(self, head: Point) -> bool:
        seconds = self._view.job.stop.seconds
        return seconds is not None and self.commits.age_s(head) >= seconds

    def _close_late(self, head: Point) -> float:
        """Who can measure chooses the closing commit (`runner`); where nobody does, the head is as good."""
        wait_s = self._head_since_s + self._view.job.patience_s - self._context.now()
        if wait_s > 0:
            return wait_s
        blob = self._models.blob_of(head.id)
        assert blob is not None
        self.commits.close(head, blob)
        return 0.0

    def _close(self, head: Point) -> float | None:
        """Updates that come after the end are discarded with that reason, once no more seem to come."""
        late = self._fetcher.uncounted(head)
        if not late:
            return None
        now = self._context.now()
        if self._late[0] != len(late):
            self._late = (len(late), now)
        wait_s = max(self._late[1], self._head_since_s) + self._view.job.patience_s - now
        if wait_s > 0:
            return wait_s
        self._commit(head, [], tuple(Discarded(*u.key, AFTER_THE_END) for u in late))
        return 0.0

    def reachable(self, node: NodeId) -> bool:
        """Heard of within `patience`, or as often as its links let it speak."""
        age_s = self._context.presence.age_s(node)
        if age_s is None:
            return False
        return age_s <= self._view.job.patience_s or self._context.presence.lively(node)

    def _able(self, node: NodeId) -> bool:
        """In reach, and not saying that it cannot."""
        if node == self._context.node:
            return not self.blocked
        return self.reachable(node) and self._context.presence.doing(node) != "blocked"

    def _is_mine(self, heads: list[Point]) -> bool:
        """Whether this node is to coordinate: best-ranked in reach, or not yet level with who is."""
        me = self._context.node
        best = coordinator(self._view, heads[0], self._able)
        if best == me:
            listened_s = self._context.now() - self._started_s
            return self._fresh or self.acting or listened_s >= self._view.job.patience_s
        if best is None or not self.acting:
            return False
        theirs = any(self._line_author(h) == best for h in heads)
        planned = any(best in self._view.plans.get(h.id, {}) for h in heads)
        return not (theirs or planned)

    def _line_author(self, head: Point) -> NodeId:
        """Who made the newest commit of a head's line."""
        while head.is_merge:
            head = self._view.graph.points[head.parents[0]]
        return head.author

    # ---- planning -----------------------------------------------------------------------------------

    def _plan(self, head: Point) -> float | None:
        view, now = self._view, self._context.now()
        if head.round == 0 and (wait_s := self._offer_window.wait_s()) > 0:
            return wait_s
        present = self._present(head)
        if not present:
            return None
        if len(present) < min_nodes(view, head):
            alone_s = self._head_since_s + ALONE_PATIENCES * view.job.patience_s - now
            if alone_s > 0:
                return alone_s
        self._published_s = {}
        self._publish(head, present, {}, 0)
        return 0.0

    def _present(self, head: Point) -> list[NodeId]:
        """Who can be given work now: who is heard, or whose work is coming in and keeps its words waiting."""
        view, presence = self._view, self._context.presence
        waiting = self._fetcher.uncounted(head)
        willing = [n for n in view.offers if n not in view.refusals]
        return [n for n in willing if presence.lively(n) or self._missing(n, waiting).growing(STALL_S)]

    def _publish(
        self, head: Point, nodes: list[NodeId], given: dict[NodeId, Assignment], number: int
    ) -> None:
        """Plan a round of `nodes`; what was `given` to one of them already stays as it is."""
        view = self._view
        chosen = self._forecasts.plan(head, nodes, view.job.recipe.steps, given if number > 0 else None)
        resources = [self._round_times.resources(head, n, chosen[n]) for n in nodes]
        round_ = plan_round(resources, view.job.recipe.steps, min_nodes(view, head))
        assignments = tuple(given.get(a.node, a) for a in round_.assignments)
        self._round_times.planned(resources, {a.node: a.steps for a in assignments})
        why = round_.why if number == 0 else f"plan {number + 1}, others are gone; {round_.why}"
        record = Plan(
            view.id, head.id, head.round + 1, assignments, round_.enough, round_.deadline_s, why, number
        )
        self._published_s[self._context.ledger.publish(record)] = self._context.now()
        names = ", ".join(self._context.name_of(a.node) for a in assignments)
        self._context.event("plan", f"round {record.round}: {names}; {why}", job=view.id)

    # ---- a round ------------------------------------------------------------------------------------

    def _round(self, head: Point, plan: KnownPlan) -> float | None:
        view, now = self._view, self._context.now()
        published_s = self._published_s.setdefault(plan.id, now)
        waiting = self._fetcher.uncounted(head)
        here = self._arrived(head)
        assigned = {a.node: a for a in plan.record.assignments}
        arrived = {u.key.node for u in here if u.record.base == plan.record.parent}
        self._forecasts.resume(head)
        self._learn(head, plan, here, published_s)
        silent = self._round_times.silent(waiting)
        missing = [self._missing(n, waiting, silent) for n in sorted(set(assigned) - arrived)]
        age_s = now - published_s
        # what a node trained on an earlier head does not stand for its part in this round while that may come
        due = {m.node for m in missing if hopeful(m, age_s, plan.record.deadline_s, STALL_S)}
        enough = plan.record.enough
        if now - self._head_since_s > ALONE_PATIENCES * view.job.patience_s:
            enough = 1
        wait_s = closing_in_s(
            arrived=len({u.key.node for u in here} - due), enough=enough, missing=missing,
            age_s=age_s, deadline_s=plan.record.deadline_s, stall_s=STALL_S,
        )  # fmt: skip
        if wait_s == 0.0:
            if age_s < max(FIGURES_S, plan.record.deadline_s) and self._awaits_figures(head):
                return None
            self._round_times.closed(plan.record.parent, published_s, missing)
            self._commit(head, here)
            return 0.0
        if wait_s is None and self._replace(head, plan.record, arrived, waiting, missing, age_s):
            return 0.0
        return wait_s

    def _replace(
        self,
        head: Point,
        plan: Plan,
        arrived: set[NodeId],
        waiting: list[KnownUpdate],
        missing: list[Missing],
        age_s: float,
    ) -> bool:
        """Plan a round anew when those it waits for are gone: with others, or with the few that are left.
        False: that would not do, or is not needed."""
        alive = [m.node for m in missing if hopeful(m, age_s, plan.deadline_s, STALL_S)]
        alive = [n for n in alive if n not in self._view.refusals]
        if len(arrived) + len(alive) >= plan.enough or plan.number >= REPLACED_MAX:
            return False
        given = {a.node: a for a in plan.assignments}
        done = {u.key.node for u in waiting if u.record.base == plan.parent}
        fresh = [n for n in self._present(head) if n not in given and n not in done]
        nodes = [n for n in given if n in arrived or n in alive] + fresh
        if len(nodes) < min_nodes(self._view, head):
            return False
        self._publish(head, nodes, given, plan.number + 1)
        return True

    def _missing(self, node: NodeId, waiting: list[KnownUpdate], silent: Collection[NodeId] = ()) -> Missing:
        ages = [
            self._context.progress_age_s(u.record.payload.blob)
            for u in waiting
            if u.key.node == node and u.record.payload.blob is not None
        ]
        growing = min((a for a in ages if a is not None), default=None)
        here = self._context.presence.lively(node) and node not in silent
        return Missing(node, here, growing, self._round_times.late_at_s(node))

    def _learn(self, head: Point, plan: KnownPlan, here: list[KnownUpdate], published_s: float) -> None:
        """What a round costs each node besides its steps, from when its update was here."""
        for u in here:
            tag = b"seen" + u.id
            if tag in self._published_s:
                continue
            self._published_s[tag] = self._context.now()
            beside_s = self._round_times.arrived(u, plan.record.parent, published_s)
            if beside_s is not None:
                self._forecasts.arrived(head, u, beside_s)

    def _commit(self, head: Point, updates: list[KnownUpdate], discarded: tuple[Discarded, ...] = ()) -> None:
        codec = self._forecasts.down_codec()
        size_bytes, waiting = self.commits.commit(head, updates, discarded, codec)
        if updates:
            self._forecasts.committed(head, codec, size_bytes, waiting)
        self._published_s = {}
