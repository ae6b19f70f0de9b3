"""Plans the rounds of a job, waits for their updates and closes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from muster.history.counted import Key
from muster.history.point import Point
from muster.job.context import Context
from muster.job.coordinator import stand_ins
from muster.job.coordinator.arrivals import Arrivals
from muster.job.coordinator.commit_writer import CommitWriter, RoundEnd
from muster.job.coordinator.evaluation import HeadEvaluator
from muster.job.coordinator.forecasts import EVERYBODY, RoundForecasts
from muster.job.coordinator.in_reach import ROUND_NODES_MAX, coming, owing, present
from muster.job.coordinator.lingering import Lingering
from muster.job.coordinator.offer_window import OfferWindow
from muster.job.coordinator.pool import PoolWindow, pool_at, trains_pool
from muster.job.coordinator.reach import Reach
from muster.job.coordinator.round_planner import RoundPlanner
from muster.job.coordinator.state import CoordinatorState
from muster.job.models.job_fetcher import STALL_S, JobFetcher
from muster.job.models.payloads import payload_held
from muster.job.models.stand_ins import UNASKED, asked_for, for_momentum, helped, is_stand_in, trained_on_pool
from muster.job.models.store import ModelStore
from muster.job.roles import ALONE_PATIENCES, min_nodes
from muster.job.sharing.rules import has_data
from muster.job.stop_rule import has_budget, has_parts, spent_up
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView, KnownPlan
from muster.job.waits import Wait, all_pass, names
from muster.planning.pool import down_codec as pool_codec
from muster.planning.round_plan import NothingFits
from muster.planning.rounds import Missing, closing_in_s, hopeful
from muster.planning.step_size import of_round
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.parts import Cost, Discarded
from muster.protocol.records import Plan
from muster.protocol.validation.limits import DEADLINE_MAX_S

REPLACED_MAX = 8  # plans on one parent after the first
RETRY_S = 0.05  # after a sum that was overtaken by other records
FIGURES_S = 60.0  # at most, for figures of a head when the round on it is all in


class Rounds:
    """The rounds that this node coordinates: at most one is open.

    Its methods return the seconds until something may be due again: 0 after something was done, None until
    the next change.
    """

    def __init__(
        self, context: Context, view: JobView, models: ModelStore, fetcher: JobFetcher, commits: CommitWriter,
        evaluation: HeadEvaluator, planner: RoundPlanner, lingering: Lingering, reach: Reach,
        state: CoordinatorState, still_due: Callable[[Point], bool],
    ) -> None:  # fmt: skip
        """`still_due(head)`: whether this node still coordinates, on this head."""
        self._context, self._view, self._models = context, view, models
        self._fetcher, self._commits = fetcher, commits
        self._evaluation, self._lingering, self._state = evaluation, lingering, state
        self._still_due = still_due
        self._offer_window = OfferWindow(context, view, reach)
        self._pool_window = PoolWindow(context, view)
        self._planner, self.assistance = planner, planner.assistance
        self._arrivals = Arrivals(context)
        self._forecasts = RoundForecasts(context, view)
        self._published_s: dict[RecordId, float] = {}  # when a plan of the open round was published
        self._missed: set[NodeId] = set()  # who owes an update of the round that is being closed
        self.waits_for: Wait | None = None  # what the round, or the next one, waits for

    async def plan(self, head: Point) -> float | None:
        """Open the round on top of `head`, once there are nodes enough for it."""
        view, now = self._view, self._context.now()
        if head.round == 0 and (wait_s := self._offer_window.wait_s()) > 0:
            self.waits_for = self._offer_window.awaited()
            return wait_s
        if head.round == 0 and view.job.one_shot and (awaited := self._pool_window.look(head)) is not None:
            self.waits_for = awaited[0]
            return awaited[1]
        if head.round == 0 and (wait_s := self.assistance.awaited_s()) > 0:
            self.waits_for = Wait("makes the samples that others are to train on in its place")
            return wait_s
        present = self._present(head)
        if not present:
            self.waits_for = all_pass(view, head) or Wait("waits for a node that can train: none is in reach")
            return None
        pool = pool_at(self._context, view, head)
        if pool is None and (lacking := self.assistance.lacking(present)) is not None:
            self.waits_for = Wait(lacking)
            return None
        inside = {*present, *pool.nodes} if pool is not None else self._planner.inside(head, present)
        if len(inside) < min_nodes(view, head):
            alone_s = self._state.head_since_s + ALONE_PATIENCES * view.job.patience_s - now
            if alone_s > 0:
                self.waits_for = self._away_awaited([n for n in view.offers if n not in present])
                return alone_s
        self.waits_for = None
        self._forget_round()
        nothing = self._publish(head, present)
        return 0.0 if nothing is None else await self._end(head, nothing)

    async def _end(self, head: Point, nothing: NothingFits) -> float | None:
        """End the job, as no round fits into what is left of its budget."""
        view, here = self._view, self.arrived(head)
        if here:
            return await self.close(head, here)
        poor = {*nothing.poor, *spent_up(view.job.stop, head.spent)}
        waits_s = None  # until their owners allow more
        if has_budget(view.job.stop):  # nobody may come any more who has something left of it
            alone_s = self._state.head_since_s + ALONE_PATIENCES * view.job.patience_s
            waits_s = 0.0 if view.offers.keys() <= poor else max(0.0, alone_s - self._context.now())
        if nothing.poor and waits_s != 0.0:
            self.waits_for = Wait(f"waits for other nodes: {nothing.why}")
            return waits_s
        blob = self._models.blob_of(head.id)
        assert blob is not None
        self._commits.close(head, blob, nothing.why)
        return 0.0

    async def follow(self, head: Point, plan: KnownPlan) -> float | None:
        """Close the round on top of `head` when it is due, or replace its plan when its nodes are gone."""
        view, now = self._view, self._context.now()
        published_s = self._published_s.setdefault(plan.id, now)
        uncounted = self._fetcher.uncounted(head)
        here = self.arrived(head)
        assigned = {a.node: a for a in plan.record.assignments}
        # what somebody trained in the place of others is not that node's part
        asked = {a.node: a.data for a in plan.record.assignments}
        own = [u for u in here if u.record.data == asked.get(u.key.node, ())]
        arrived = {u.key.node for u in own if u.record.base == plan.record.parent}
        self._forecasts.resume(head)
        self._note(plan, here)
        silent, arriving = self._arrivals.silent(uncounted), coming(uncounted)
        passing = {n for n in assigned if n not in arrived and view.why_not(n, head.round + 1) is not None}
        of, owed = partial(owing, self._context, self._arrivals), set(assigned) - arrived - passing
        missing = [of(n, arriving, silent) for n in sorted(owed)]
        age_s = now - published_s
        # what a node trained on an earlier head does not stand for its part in this round while that may come
        due = {m.node for m in missing if hopeful(m, age_s, plan.record.deadline_s, STALL_S)}
        least, of_pool = min_nodes(view, head), trains_pool(plan.record.assignments)
        if has_parts(view.job.stop) or of_pool:  # the plan names who is needed
            least = min(least, len(assigned))
        lends = helped(u.record for u in own) - {u.key.node for u in own}
        least -= len(lends)  # who lets others train in its place is in the round, too
        covered = stand_ins.covered(self._context, view, plan.record, here)
        awaited = [m for m in missing if m.node not in covered]
        others = len(missing) - len(awaited) + len(passing)
        enough = max(least, min(plan.record.enough, len(assigned) - others))
        if now - self._state.head_since_s > ALONE_PATIENCES * view.job.patience_s:
            enough = 1
        # an update of one node's data alone is no round of the pool that all share
        in_ = len({u.key.node for u in own if not of_pool or u.key.node in assigned} - due)
        trainers = stand_ins.waited_for(self._context, view, plan.record, here)
        standing = [stand_ins.missing(self._context, of(n, arriving, silent)) for n in trainers]
        wait_s = closing_in_s(
            arrived=in_, enough=enough, missing=[*awaited, *standing],
            age_s=age_s, deadline_s=plan.record.deadline_s, stall_s=STALL_S,
        )  # fmt: skip
        if others and not awaited and in_ < least:
            wait_s = None
        away = [m.node for m in awaited if not m.reachable and not m.growing(STALL_S)]
        self.waits_for = self._away_awaited(away) if away and wait_s != 0.0 else None
        if passing and not missing and wait_s is None:
            self.waits_for = all_pass(view, head)
        if wait_s == 0.0:
            if age_s < max(FIGURES_S, plan.record.deadline_s) and self._evaluation.awaits_figures(head):
                return None
            linger_s = self.linger_s(head)
            if linger_s > 0:
                return linger_s
            self._arrivals.closed(published_s, missing)
            self._missed |= {m.node for m in missing}
            return await self.close(head, here)
        if wait_s is None and self._replace(head, plan.record, arrived, uncounted, missing, age_s):
            return 0.0
        alone = now - self._state.head_since_s > ALONE_PATIENCES * view.job.patience_s
        if wait_s is None and alone and not here and (present := self._present(head)):
            nothing = self._planner.plan(head, present, replaces=True)
            if isinstance(nothing, NothingFits):  # those who are here may spend no more, the others are gone
                return await self._end(head, nothing)
        return wait_s

    def arrived(self, head: Point) -> list[KnownUpdate]:
        """Updates that nothing counts yet, whose payload is here and can be read."""
        store, models = self._context.store, self._models
        here = [u for u in self._fetcher.uncounted(head) if payload_held(store, u.record.payload)]
        return [u for u in here if models.form_of(u.record.base) is not None]

    def linger_s(self, head: Point) -> float:
        """Seconds that the last round waits yet for updates that are owed; 0 if this one is not the last."""
        age_s = self._commits.age_s(head)
        return self._lingering.wait_s(head, age_s, self._fetcher.uncounted(head), self.arrived(head))

    async def close(
        self, head: Point, updates: list[KnownUpdate], discarded: tuple[Discarded, ...] = ()
    ) -> float:
        """Commit `updates` on top of `head`, unless something else is due once the sum is made."""
        discarded += tuple(Discarded(*u.key, UNASKED) for u in updates if not asked_for(self._view, u))
        updates = [u for u in updates if asked_for(self._view, u)]
        keys = {u.key for u in updates}.union(Key(d.node, d.incarnation, d.sequence) for d in discarded)

        reason = self._view.finished(head)

        def still() -> bool:
            if not self._still_due(head) or self._view.finished(head) != reason:
                return False
            return keys <= {u.key for u in self._fetcher.uncounted(head)}

        done = await self._commits.commit(head, updates, discarded, self._round_end(head, updates), still)
        if done is None:
            return RETRY_S
        if updates:
            opened_s = min(self._published_s.values(), default=None)
            took_s = None if opened_s is None else self._context.now() - opened_s
            self._forecasts.committed(head, updates, *done, took_s)
        self._forget_round()
        return 0.0

    def _round_end(self, head: Point, updates: list[KnownUpdate]) -> RoundEnd:
        """How the round on `head` is closed with these updates, by the plan of this node, if there is one."""
        setting = for_momentum(updates, lambda node: not has_data(self._view, node))
        codecs = (u.record.payload.codec for u in setting)
        momentum, _ = of_round(self._view.job, codecs, helped=all(u.record.data for u in setting))
        of_pool = any(trained_on_pool(u) for u in updates)
        steps = 0 if of_pool else self._forecasts.steps()  # those of a pool say nothing of other rounds
        steering = replace(self._planner.steering_after(head, steps), probe=self._forecasts.probes(EVERYBODY))

        def cost(update: KnownUpdate) -> Cost:
            return self._arrivals.cost(update, probe=self._forecasts.probes(update.key.node))

        codec = self._forecasts.commit_codec() or self._planner.commit_codec(head)
        if of_pool:
            codec = pool_codec(self._view.job.recipe.down_codec)
        missed = self._missed - {u.key.node for u in updates if u.record.base == head.id}
        return RoundEnd(codec, momentum, cost, missed, steering, nearest=of_pool)

    def _away_awaited(self, nodes: list[NodeId]) -> Wait:
        if not nodes:
            return Wait("waits for more nodes that can train")
        alone_s = self._state.head_since_s + ALONE_PATIENCES * self._view.job.patience_s
        return Wait(f"waits for {names(self._context, nodes)}, out of reach", alone_s)

    def _forget_round(self) -> None:
        self._published_s, self._missed = {}, set()

    def _present(self, head: Point) -> list[NodeId]:
        return present(self._context, self._view, self._arrivals, head, self._fetcher.uncounted(head))

    def _publish(self, head: Point, nodes: list[NodeId], before: Plan | None = None) -> NothingFits | None:
        """Plan a round of `nodes`; what a plan `before` of its kind gave to one of them stays as it is."""
        view, number = self._view, 0 if before is None else before.number + 1
        found = self._planner.plan(head, nodes, replaces=number > 0)
        if isinstance(found, NothingFits):
            return found
        found = self.assistance.explained(found)
        round_ = found.round
        if before is not None and trains_pool(before.assignments) != trains_pool(round_.assignments):
            before = None  # with a node's usual part a round on what all share would be over at once
        given = {} if before is None else {a.node: a for a in before.assignments}
        assignments = tuple(given.get(a.node, a) for a in round_.assignments)
        standing = stand_ins.kept(found, before.stand_ins if before is not None else ())
        self._arrivals.planned(found.resources, (*assignments, *standing))
        why = found.why + stand_ins.why(self._context, view, standing)
        self._forecasts.planned(head, found, why, self._planner.state(head).message_bytes, given)
        why = why if number == 0 else f"plan {number + 1}, others are gone; {why}"
        deadline_s = min(DEADLINE_MAX_S, round_.deadline_s)
        record = Plan(
            view.id, head.id, head.round + 1, assignments, round_.enough, deadline_s,
            why, number, standing,
        )  # fmt: skip
        self._published_s[self._context.ledger.publish(record)] = self._context.now()
        self._arrivals.asked(head.id, [a.node for a in assignments if a.node not in given])
        nodes_ = ", ".join(self._context.name_of(a.node) for a in assignments)
        self._context.event("plan", f"round {record.round}: {nodes_}; {why}", job=view.id)
        return None

    def _replace(
        self,
        head: Point,
        plan: Plan,
        arrived: set[NodeId],
        uncounted: list[KnownUpdate],
        missing: list[Missing],
        age_s: float,
    ) -> bool:
        """Replace the plan when the nodes it waits for are gone: by others, or by the few that are left.

        False: that would not do, or is not needed.
        """
        alive = [m.node for m in missing if hopeful(m, age_s, plan.deadline_s, STALL_S)]
        if len(arrived) + len(alive) >= plan.enough or plan.number >= REPLACED_MAX:
            return False
        given = {a.node: a for a in plan.assignments}
        done = {u.key.node for u in uncounted if u.record.base == plan.parent}
        fresh = [n for n in self._present(head) if n not in given and n not in done]
        nodes = [n for n in given if n in arrived or n in alive] + fresh
        nodes, pool = nodes[:ROUND_NODES_MAX], trains_pool(plan.assignments)
        inside = nodes if pool else self._planner.inside(head, nodes)
        if len(inside) < (1 if pool else min_nodes(self._view, head)):
            return False
        done_without = {a.node for a in plan.assignments if a.data and a.node not in nodes}
        replaced = self._publish(head, nodes, plan) is None
        self._missed |= done_without if replaced else set()  # helpers, that is: nothing else tells of them
        return replaced

    def _note(self, plan: KnownPlan, here: list[KnownUpdate]) -> None:
        """Note what the round cost each node whose update is here."""
        for update in here:
            if is_stand_in(plan.record, update.key.node, update.record):
                continue
            beside_s = self._arrivals.came(update)
            if beside_s is not None and update.record.base == plan.record.parent:
                self._forecasts.arrived(update, beside_s)
