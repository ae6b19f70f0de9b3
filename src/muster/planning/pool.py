"""Plans a round in which one node trains on what all others share: a job of one contact.

    plan_pool(work, state, pool, candidates, left) -> RoundPlan, or NothingFits

Who is done first does it: its steps, and before them the samples that have to come to it.  The coordinator
holds them, so another node must be a good deal sooner, and is asked but once.  Of its own the trainer takes
all data, not samples.  The model goes back as a difference of four bits to the one before; that of the seed
is known to everybody.

A model that was trained so is a good one, and usual rounds take that away: their steps are too large (97.7 %
fell to 91.9 % in six of them).  So the further rounds of such a job are gentle (`planning.step_size`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from muster.planning.codec_choice import DENSE
from muster.planning.costs import Left, Usage
from muster.planning.policy import UNKNOWN_RATE_BYTES_S, Candidate, Work, plan
from muster.planning.round_plan import NothingFits, RoundPlan
from muster.planning.state import PlannerState
from muster.planning.step_size import density
from muster.protocol.ids import NodeId

STEPS = 1200  # with a rate that falls to 0: more gains little (docs/coresets.md)
UP_CODEC = "quant8"  # of what another node than the coordinator trained
SOONER = 1.5  # times, that another node must be done than the coordinator
DOWN_CODEC = "quant4"  # 0.2 points at most


@dataclass(frozen=True)
class Pool:
    """Whose samples the coordinator holds, and the bytes of these."""

    nodes: tuple[NodeId, ...]
    size_bytes: int


def plan_pool(
    work: Work, state: PlannerState, pool: Pool, candidates: Sequence[Candidate], left: Left, everybody: int,
    *, replaces: bool = False,
) -> RoundPlan | NothingFits:  # fmt: skip
    """The round of that one of `candidates` which is done first, and may spend what it takes.

    `everybody`: how many nodes get the model.  `replaces`: in the place of an earlier plan.

    Raises CodecError.
    """
    assert candidates
    nothing: RoundPlan | NothingFits = NothingFits("")

    def order(c: Candidate) -> tuple[float, NodeId]:
        handicap = 0.0 if c.local and replaces else 1.0 if c.local else SOONER
        return handicap * done_s(work, pool, c), c.node

    for trainer in sorted(candidates, key=order):
        found = _plan_of(work, state, pool, trainer, left, everybody)
        if isinstance(found, RoundPlan):
            return found
        nothing = found
    return nothing


def done_s(work: Work, pool: Pool, trainer: Candidate) -> float:
    """Seconds until a node would have trained; without an end where its link is not measured.

    To all but the coordinator the samples have to come, and the model back.
    """
    train_s = _steps(work, trainer) * trainer.step_s + trainer.busy_s
    if trainer.local:
        return train_s
    rate = trainer.reported_bytes_s or trainer.usual_bytes_s
    return train_s + (pool.size_bytes + work.contents.size_bytes(UP_CODEC)) / rate if rate else math.inf


def down_codec(recipe_codec: str) -> str:
    """Of the commit: as the recipe says, unless that leaves most of the model out."""
    return DOWN_CODEC if recipe_codec == "auto" or density(recipe_codec) < 1.0 else recipe_codec


def _steps(work: Work, trainer: Candidate) -> int:
    return min(work.job.one_shot, trainer.steps_most or work.job.one_shot)


def _plan_of(
    work: Work, state: PlannerState, pool: Pool, trainer: Candidate, left: Left, everybody: int
) -> RoundPlan | NothingFits:
    job = work.job
    recipe = structs.replace(
        job.recipe, steps=_steps(work, trainer), codec=DENSE if trainer.local else UP_CODEC,
        down_codec=down_codec(job.recipe.down_codec),
    )  # fmt: skip
    alone = replace(work, job=structs.replace(job, recipe=recipe, min_nodes=1))
    if trainer.local:  # what it trains crosses no link
        trainer = replace(trainer, left=replace(trainer.left, bytes=None))
    found = plan(alone, state, [trainer], replace(left, bytes=None), 1, replaces=True)
    if isinstance(found, NothingFits):
        return found
    [assignment] = found.round.assignments
    data = tuple(sorted({*pool.nodes, trainer.node}))
    fetch_s = 0.0 if trainer.local else pool.size_bytes / _rate(trainer)
    [resources] = found.resources
    resources = replace(resources, overhead_s=resources.overhead_s + fetch_s)
    round_ = replace(
        found.round,
        assignments=(structs.replace(assignment, data=data),),
        expected_s=resources.expected_s(assignment.steps),
        deadline_s=resources.late_at_s(assignment.steps),
    )
    up_bytes = 0 if trainer.local else found.messages.up[trainer.node].size_bytes
    down_bytes = found.messages.down.size_bytes * max(0, everybody - 1)
    sent_bytes = pool.size_bytes + up_bytes + down_bytes
    usage = Usage(found.usage.seconds + fetch_s, sent_bytes, found.usage.joules)
    if not usage.fits(left):
        needed = f"about {usage.bytes:,} bytes and {usage.seconds:.0f} s"
        return NothingFits(f"training on all shared samples takes {needed}: more than is left")
    return replace(found, round=round_, resources=(resources,), usage=usage)


def _rate(node: Candidate) -> float:
    return node.reported_bytes_s or node.usual_bytes_s or UNKNOWN_RATE_BYTES_S
