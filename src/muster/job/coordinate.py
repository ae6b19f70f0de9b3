"""The coordinator's side of a job: plan a round, wait by progress, fold, commit (design sections 5.2 to 5.8).

Any participant can run this loop; it looks at the view, does the next thing that is due, and waits for a
change.  Nothing it remembers is needed to go on: a restarted or another coordinator derives the same from the
records.
"""

from __future__ import annotations

import asyncio

from muster.compression.families import parse
from muster.compression.feedback import norm
from muster.compression.model import add, difference, send
from muster.compression.tensors import pack
from muster.history.counted import Key
from muster.history.graph import Point, merge_of
from muster.job import residuals
from muster.job.context import Context
from muster.job.folding import Outcome, fold, spent_after
from muster.job.models import Arrays, Models
from muster.job.payloads import keep_payload, payload_bytes, payload_held
from muster.job.residuals import Vector
from muster.job.roles import ALONE_PATIENCES, coordinator, min_nodes
from muster.job.view import JobView, KnownPlan, KnownUpdate
from muster.planning.codecs import down_codec, up_codec
from muster.planning.rounds import Missing, Resources, closing_in_s, learn_overhead_s, plan_round
from muster.records import BlobId, Commit, NodeId, Payload, Plan, short

LATELY_S = 180.0  # three idle beats
OFFER_GRACE_S = 10.0  # after the last offer, for reachable nodes that have not answered yet
STALL_S = 5.0  # a payload that has not grown for so long makes no progress
UNKNOWN_RATE_BYTES_S = 16_000.0  # assumed of a link until a round was measured


class Coordination:
    """One node's coordinating of one job."""

    def __init__(self, context: Context, view: JobView, models: Models) -> None:
        self._context, self._view, self._models = context, view, models
        self._overhead_s: dict[NodeId, float] = {}
        self._published_s: dict[bytes, float] = {}  # plan id -> when; only of the running round
        self._started_s = context.now()
        self._head_since_s = context.now()
        self._head_id = b""
        self._last_offer_s = context.now()
        self._offers = 0
        self.held_since: tuple[bytes, float, float] | None = None  # head, loop time, its age_s
        self.acting = False

    # ---- the loop -----------------------------------------------------------------------------------

    async def run(self) -> None:
        pulse = self._context.pulse
        while True:
            due_s = await self._step()
            if due_s is None or due_s > 0:
                await pulse.wait(min(1.0, due_s) if due_s is not None else 1.0)
            else:
                await asyncio.sleep(0)

    async def _step(self) -> float | None:
        """Do what is due; seconds until something may be due again (None: at the next change)."""
        heads = self._view.graph.heads(self._models.held)
        if not heads:
            return None
        self.acting = self._is_mine(heads)
        if not self.acting:
            return None
        if len(heads) > 1:
            await self._merge(heads[0], heads[1])
            return 0.0
        head = heads[0]
        if head.id != self._head_id:
            self._head_id, self._head_since_s = head.id, self._context.now()
        if self._view.finished(head) is not None:
            return None
        plan = self._view.plans.get(head.id, {}).get(self._context.node)
        if plan is None:
            return self._plan(head)
        return self._round(head, plan)

    def reachable(self, node: NodeId) -> bool:
        age_s = self._context.presence.age_s(node)
        return age_s is not None and age_s <= self._view.job.patience_s

    def _is_mine(self, heads: list[Point]) -> bool:
        """Whether this node is to coordinate: best-ranked in reach, or not yet level with who is."""
        me = self._context.node
        best = coordinator(self._view, heads[0], self.reachable)
        if best == me:
            restarted = self._context.now() - self._started_s < self._view.job.patience_s
            return not restarted or heads[0].author == me or self._view.asker == me
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
        if len(view.offers) != self._offers:
            self._offers, self._last_offer_s = len(view.offers), now
        present = [n for n in view.offers if self.reachable(n)]
        silent = [n for n in self._lately_heard() if n not in view.offers and n not in view.refusals]
        if any(self._context.presence.doing(n) == "preparing" and self.reachable(n) for n in silent):
            self._last_offer_s = now  # it is on its way: starting a trainer takes its time on a small board
        if head.round == 0 and silent and (wait_s := self._last_offer_s + OFFER_GRACE_S - now) > 0:
            return wait_s
        if not present:
            return None
        if len(present) < min_nodes(view, head):
            alone_s = self._head_since_s + ALONE_PATIENCES * view.job.patience_s - now
            if alone_s > 0:
                return alone_s
        recipe = view.job.recipe
        round_ = plan_round([self._resources(n) for n in present], recipe.steps, min_nodes(view, head))
        record = Plan(
            view.id, head.id, head.round + 1, round_.assignments, round_.enough, round_.deadline_s, round_.why
        )
        plan_id = self._context.ledger.publish(record)
        self._published_s = {plan_id: now}
        names = ", ".join(self._context.name_of(a.node) for a in round_.assignments)
        self._context.event("plan", f"round {record.round}: {names}; {round_.why}", job=view.id)
        return 0.0

    def _lately_heard(self) -> list[NodeId]:
        """Members that may answer a call for help: idle nodes speak rarely, so this looks further back."""
        ages = {n: self._context.presence.age_s(n) for n in self._context.ledger.roll.members()}
        return [n for n, age_s in ages.items() if age_s is not None and age_s < LATELY_S]

    def _resources(self, node: NodeId) -> Resources:
        offer = self._view.offers[node]
        codec = up_codec(self._view.job.recipe)
        overhead_s = self._overhead_s.get(node)
        if overhead_s is None:
            layout = self._models.layout
            size = 2 * layout.blob_bytes if layout else 0
            overhead_s = 0.5 if node == self._context.node else 0.5 + size / UNKNOWN_RATE_BYTES_S
        return Resources(node, max(1e-4, offer.step_s), overhead_s, codec)

    # ---- a round ------------------------------------------------------------------------------------

    def _round(self, head: Point, plan: KnownPlan) -> float | None:
        view, now = self._view, self._context.now()
        published_s = self._published_s.setdefault(plan.id, now)
        waiting = view.waiting(head.counted)
        here = [u for u in waiting if payload_held(self._context.store, u.record.payload)]
        assigned = {a.node: a for a in plan.record.assignments}
        arrived = {u.key.node for u in here if u.record.base == plan.record.parent}
        self._learn(plan, here, published_s)
        missing = [self._missing(n, waiting) for n in sorted(set(assigned) - arrived)]
        age_s = now - published_s
        enough = plan.record.enough
        if now - self._head_since_s > ALONE_PATIENCES * view.job.patience_s:
            enough = 1
        wait_s = closing_in_s(
            arrived=len({u.key.node for u in here}), enough=enough, missing=missing,
            age_s=age_s, deadline_s=plan.record.deadline_s, stall_s=STALL_S,
        )  # fmt: skip
        out_of_time = view.job.stop.seconds is not None and self.age_s(head) >= view.job.stop.seconds
        if wait_s == 0.0 or out_of_time:
            self._commit(head, here)
            return 0.0
        return wait_s

    def _missing(self, node: NodeId, waiting: list[KnownUpdate]) -> Missing:
        ages = [
            self._context.progress_age_s(u.record.payload.blob)
            for u in waiting
            if u.key.node == node and u.record.payload.blob is not None
        ]
        growing = [a for a in ages if a is not None]
        return Missing(node, self.reachable(node), min(growing, default=None))

    def _learn(self, plan: KnownPlan, here: list[KnownUpdate], published_s: float) -> None:
        """What a round costs each node besides its steps, from when its update was here."""
        for u in here:
            tag = b"seen" + u.id
            if u.record.base != plan.record.parent or tag in self._published_s:
                continue
            self._published_s[tag] = self._context.now()
            offer = self._view.offers.get(u.key.node)
            if offer is not None:
                turnaround_s = self._context.now() - published_s
                self._overhead_s[u.key.node] = learn_overhead_s(
                    self._overhead_s.get(u.key.node), turnaround_s, u.record.steps, offer.step_s
                )

    def age_s(self, head: Point) -> float:
        """The job's age: the head's, advanced by this node's own clock since it came to hold it."""
        if self.held_since is None or self.held_since[0] != head.id:
            self.held_since = (head.id, self._context.now(), head.age_s)
        return self.held_since[2] + self._context.now() - self.held_since[1]

    # ---- committing ---------------------------------------------------------------------------------

    def _commit(self, head: Point, updates: list[KnownUpdate]) -> None:
        context, view, models, store = self._context, self._view, self._models, self._context.store
        recipe = view.job.recipe
        layout = models.layout
        assert layout is not None
        base = models.arrays(head.id)
        outcome = fold(
            layout, base, self._previous(head), head.round, updates, self._samples,
            lambda u: payload_bytes(store, u.record.payload), recipe,
        )  # fmt: skip
        keys = [Key(f.node, f.incarnation, f.sequence) for f in outcome.folded]
        keys += [Key(d.node, d.incarnation, d.sequence) for d in outcome.discarded]
        age_s = self.age_s(head)
        with store.transaction():
            blob, delta, residual = self._downlink(head, base, outcome)
            down_bytes = min(layout.blob_bytes, delta.size_bytes if delta else layout.blob_bytes)
            record = Commit(
                view.id, (head.id,), head.round + 1, head.counted.plus(keys).ranges(), outcome.folded,
                self._roster(head), spent_after(head, outcome.folded, updates, down_bytes), age_s,
                blob, layout.blob_bytes, delta, norm(residual), outcome.discarded,
            )  # fmt: skip
            commit_id, announce = context.ledger.keep_unannounced(record)
            residuals.keep(store, "down", view.id, residual, commit_id)
        self.held_since = (commit_id, context.now(), age_s)
        self._published_s = {}
        announce()
        names = [context.name_of(f.node) for f in outcome.folded]
        late = sum(f.staleness > 0 for f in outcome.folded)
        text = f"round {record.round} committed as {short(commit_id)}: {len(names)} updates"
        text += f" ({late} late)" if late else ""
        context.event("commit", text, job=view.id, node=context.name_of(context.node))
        for d in outcome.discarded:
            context.event(
                "error", f"an update of {context.name_of(d.node)} is discarded: {d.reason}", job=view.id
            )

    def _downlink(
        self, head: Point, base: Arrays, outcome: Outcome
    ) -> tuple[BlobId, Payload | None, Vector | None]:
        """Store the new model; with a lossy codec, as what every node will rebuild from the delta."""
        layout, store, job = self._models.layout, self._context.store, self._view.id
        assert layout is not None
        codec = down_codec(self._view.job.recipe)
        if codec is None or not outcome.folded:
            return store.put_blob(pack(layout, outcome.params)), None, None
        residual = residuals.load(store, "down", job, head.id)
        sent = send(parse(codec), layout, difference(layout, base, outcome.params), residual, head.round)
        blob = store.put_blob(pack(layout, add(layout, base, sent.decoded)))
        return blob, keep_payload(store, codec, sent.message), sent.residual

    def _previous(self, head: Point) -> Arrays | None:
        """Parameters of the head's parent, which carry the server's momentum; None where there is none."""
        if not self._view.job.recipe.server_momentum or len(head.parents) != 1:
            return None
        return self._models.arrays(head.parents[0]) if self._models.held(head.parents[0]) else None

    def _samples(self, node: NodeId) -> int:
        offer = self._view.offers.get(node)
        return offer.samples if offer else 1

    def _roster(self, head: Point) -> tuple[NodeId, ...]:
        return head.roster + tuple(n for n in self._view.offers if n not in head.roster)

    async def _merge(self, a: Point, b: Point) -> None:
        merge_id, record = merge_of(self._view.id, a.id, b.id)
        self._context.ledger.publish(record)
        await self._models.ensure(merge_id)
        self._context.event(
            "merge",
            f"branches {short(a.id)} and {short(b.id)} merged as {short(merge_id)}",
            job=self._view.id,
        )
