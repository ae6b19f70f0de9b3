"""What a job will take, before anybody is asked: the policy, repeated on what each round is expected to show.

Nothing is known there of the losses that will be measured, so the guard on the steps never acts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from muster.planning import state as planner
from muster.planning.costs import Left
from muster.planning.policy import Candidate, Work, plan
from muster.planning.pool import Pool, plan_pool
from muster.planning.round_plan import NothingFits, RoundPlan
from muster.planning.state import PlannerState, Shown, ShownUpdate
from muster.planning.steps import watch
from muster.protocol.parts import Cost

ROUNDS_MAX = 300  # that are projected; a job may well have more
ROUNDS_OPEN = 5  # where nothing that can be known beforehand ends the job


@dataclass(frozen=True)
class Projection:
    """The rounds that a job will have, as far as that can be known. `ends`: what ends them: "rounds", why
    nothing more fits, or "" where that is not known or too far off."""

    rounds: tuple[RoundPlan, ...]
    ends: str

    @property
    def seconds(self) -> float:
        return math.fsum(r.usage.seconds for r in self.rounds)

    @property
    def bytes(self) -> int:
        return sum(r.usage.bytes for r in self.rounds)

    @property
    def joules(self) -> float:
        return math.fsum(r.usage.joules for r in self.rounds)


def project(
    work: Work, state: PlannerState, nodes: Sequence[Candidate], left: Left, min_nodes: int,
    pool: Pool | None = None,
) -> Projection:  # fmt: skip
    """The rounds that fit into what is left. `pool`: what the first of them trains on. Raises CodecError."""
    limits = [left, *(node.left for node in nodes)]
    ending = any(limit != Left() for limit in limits)
    rounds: list[RoundPlan] = []
    while len(rounds) < (ROUNDS_MAX if ending else ROUNDS_OPEN):
        if left.rounds is not None and left.rounds <= 0:
            return Projection(tuple(rounds), "rounds")
        first = pool is not None and not rounds
        if pool is not None and first:
            found = plan_pool(work, state, pool, nodes, left, len(nodes))
        else:
            found = plan(work, state, nodes, left, min_nodes, replaces=True)
        if isinstance(found, NothingFits):
            return Projection(tuple(rounds), found.why)
        rounds.append(found)
        if not first:  # its steps say nothing of later rounds
            state = planner.observe(state, _expected(found, state, len(rounds)))
        left = _after(left, found.usage.seconds, found.usage.bytes, found.usage.joules)
        nodes = [
            replace(
                node, has_model=True,
                left=_after(node.left, 0.0, found.messages.size_bytes(node.node), found.joules[node.node]),
            )
            if node.node in found.joules else node
            for node in nodes
        ]  # fmt: skip
    return Projection(tuple(rounds), "")


def _expected(found: RoundPlan, state: PlannerState, round_: int) -> Shown:
    """What a planned round will show if all of it comes true."""
    resources = {r.node: r for r in found.resources}
    updates = []
    for a in found.round.assignments:
        r, message = resources[a.node], found.messages.up[a.node]
        cost = Cost(
            round(1000 * r.expected_s(a.steps)), round(1000 * a.steps * r.step_s), message.size_bytes,
            message.codec, round(10 * message.residual_ratio),
        )  # fmt: skip
        updates.append(ShownUpdate(a.node, a.steps, 0, cost))
    down = found.messages.down
    steering = structs.replace(
        watch(state.steering, None, found.tau), residual_ratio=round(10 * down.residual_ratio)
    )
    return Shown(round_, tuple(updates), (), steering, down.codec, down.size_bytes)


def _after(left: Left, seconds: float, bytes_: int, joules: float) -> Left:
    return Left(
        None if left.rounds is None else left.rounds - 1,
        None if left.seconds is None else left.seconds - seconds,
        None if left.bytes is None else left.bytes - bytes_,
        None if left.joules is None else left.joules - joules,
    )
