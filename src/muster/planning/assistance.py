"""Plans rounds in which nodes that have power and no data train in the place of a slow asker.

    assisted(work, state, lent, nodes, left, min_nodes, judged=..) -> RoundPlan, or NothingFits

They train on samples that the asker hands over once, and the asker leaves its part to them: several of them
share its weight.  A helper whose steps are s times as fast as the asker's makes these f times sooner where

    size_bytes / rate + latency <= steps * step_s * (s / f - 1)

`size_bytes` are those of the samples, `rate` is that of writing, sending and reading them, `latency` what all
rounds cost beside their steps, and `steps` are those that the job has yet to do, `step_s` long at the helper
(docs/assistance.md).  From this follow how large the samples may be (`room_bytes`) and whether a helper pays
(`Terms.times`).  What is not measured yet is assumed, and each round shows more: where help does not pay, the
asker goes on alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from muster.planning.costs import Left
from muster.planning.policy import OVERHEAD_S, UNKNOWN_RATE_BYTES_S, Candidate, Work, plan
from muster.planning.round_plan import NothingFits, RoundPlan
from muster.planning.state import NodeState, PlannerState
from muster.planning.steps import STEPS_MOST
from muster.protocol.ids import NodeId
from muster.protocol.records import Job

STEPS_USUAL = 400  # of a job that does not say how many it takes: 29,000 parameters on MNIST to 97 %
CODING_S_BYTE = 1e-5  # of writing samples, and of reading them, on a laptop: 0.14 ms an image of MNIST
ROOM_MOST_BYTES = 64_000  # 4,000 images of a bit a pixel: 16,000 taught no more, and took four times as long
SAMPLES_MIN = 15  # fewer teach nothing
TIMES_MIN = 1.25  # as soon as alone: less is within what nobody can foresee
GAIN_SHARE = 0.5  # of the seconds that help saves, which the samples may take,
SENDING_SHARE = 1.0  # and of the helper's own steps; longer is better spent on training
# A helper that a round waited for in vain is taken to need twice as long each time, and tried again later:
LATE_MOST, FORGOTTEN_ROUNDS = 8, 4  # times that count, and rounds after which one of them is forgotten.
BETTER_ROUNDS = 16  # without one, after which it is taken to cost half: a link may have become better
ALIKE = 2.0  # times as slow as the fastest one, and who is slower would be waited for


@dataclass(frozen=True)
class Terms:
    """What is known of one helper: seconds of its steps and of the asker's, what each of its rounds costs
    beside its steps, how many steps a round has, and the rate of the link to it (0: not known)."""

    asker_step_s: float
    step_s: float
    round_s: float
    tau: int
    rate_bytes_s: float = 0.0

    def sending_s(self, size_bytes: int) -> float:
        """Seconds until the helper has samples of so many bytes: written, sent, read."""
        coding_s = CODING_S_BYTE * (1.0 + max(1.0, self.asker_step_s / self.step_s))
        return size_bytes * (coding_s + 1.0 / (self.rate_bytes_s or UNKNOWN_RATE_BYTES_S))

    def helped_s(self, steps: int) -> float:
        """Seconds of so many steps, once the helper has the samples."""
        return steps * self.step_s + math.ceil(steps / self.tau) * self.round_s

    def times(self, steps: int, size_bytes: int) -> float:
        """How many times as soon as at the asker so many steps are done, where samples of so many bytes have
        to come to the helper first: f of the rule."""
        return steps * self.asker_step_s / (self.sending_s(size_bytes) + self.helped_s(steps))


def room_bytes(terms: Terms, steps: int) -> int:
    """What the asker's samples may take; 0: help does not pay, however few they are."""
    helped_s = terms.helped_s(steps)
    saved_s = steps * terms.asker_step_s - helped_s
    if saved_s <= 0:
        return 0
    sending_s = min(SENDING_SHARE * steps * terms.step_s, GAIN_SHARE * saved_s)
    room = min(ROOM_MOST_BYTES, int(sending_s / terms.sending_s(1)))
    return room if terms.times(steps, room) >= TIMES_MIN else 0


def steps_ahead(job: Job, asker_step_s: float, left: Left) -> int:
    """How many steps of the asker a job has yet to do, as far as it says so."""
    found = math.inf
    if left.rounds is not None:
        found = left.rounds * (job.recipe.steps or STEPS_MOST)
    if left.seconds is not None:
        found = min(found, left.seconds / asker_step_s)
    if math.isinf(found) or job.stop.target is not None or job.stop.stale is not None:
        found = min(found, STEPS_USUAL)
    return max(1, int(found))


def first_terms(asker_step_s: float, step_s: float, rate_bytes_s: float, steps: int) -> Terms:
    """What is known of a helper before its first round; `steps`: those of the recipe, 0: the planner's."""
    return Terms(asker_step_s, step_s, OVERHEAD_S, steps or STEPS_MOST, rate_bytes_s)


@dataclass(frozen=True)
class Lent:
    """What a job's asker hands to helpers, as its coordinator sees it. `step_s`: as it offered.

    `why_none`: why nothing is there to train on; "": it is.
    """

    node: NodeId
    step_s: float
    samples: int = 0
    size_bytes: int = 0
    why_none: str = ""


def assisted(
    work: Work, state: PlannerState, lent: Lent | None, nodes: Sequence[Candidate], left: Left,
    min_nodes: int, *, judged: bool = False, replaces: bool = False,
) -> RoundPlan | NothingFits:  # fmt: skip
    """The next round of `nodes`, of which some may have no data.

    `judged`: the loss is of a set that is the same for all nodes, so that it says whether help does good.
    Raises CodecError.
    """
    own = [n for n in nodes if n.has_data]
    helpers = [n for n in nodes if not n.has_data]
    if not helpers:
        return plan(work, state, own, left, min_nodes, replaces=replaces)
    chosen, said = _chosen(work, state, lent, own, helpers, left, judged=judged)
    if not chosen or lent is None:
        if not own:
            return NothingFits(said, tuple(n.node for n in helpers))
        alone = plan(work, state, own, left, min(min_nodes, len(own)), replaces=replaces)
        return replace(alone, unhelped=said) if isinstance(alone, RoundPlan) else alone
    rest = [n for n in own if n.node != lent.node]
    found = plan(
        _work(work, rest), state, [*rest, *chosen], left, min(min_nodes, len(rest) + len(chosen)),
        replaces=replaces,
    )  # fmt: skip
    if isinstance(found, NothingFits):
        return found
    names = {n.node for n in chosen}
    assignments = tuple(
        structs.replace(a, data=(lent.node,)) if a.node in names else a for a in found.round.assignments
    )
    round_ = replace(found.round, assignments=assignments)
    return replace(found, round=round_, helps=said, ratio=None if not rest else found.ratio)


def _chosen(
    work: Work, state: PlannerState, lent: Lent | None, own: Sequence[Candidate],
    helpers: Sequence[Candidate], left: Left, *, judged: bool,
) -> tuple[list[Candidate], str]:  # fmt: skip
    """Who helps and how much sooner that is; or nobody, and why."""
    if lent is None or lent.why_none:
        return [], "the asker shares no samples" if lent is None else lent.why_none
    if lent.samples < SAMPLES_MIN:
        return [], f"the asker's {lent.samples} samples are too few to train on"
    if judged and state.trial.resting and work.job.share == "auto" and own:
        return [], "rounds with helpers made the model no better"
    asker_s = _known(state, lent.node).step_s or lent.step_s
    rest = [n for n in own if n.node != lent.node]
    steps = steps_ahead(work.job, asker_s, left)
    found = []
    for helper in helpers:
        terms = _terms(_work(work, rest), state, asker_s, helper)
        coming = 0 if _known(state, helper.node).round else lent.size_bytes
        found.append((terms.times(steps, coming), helper, terms.sending_s(coming)))
    best = max(times for times, _, _ in found)
    here = len(rest) < len(own)
    if here and best < TIMES_MIN and work.job.share == "auto":
        return [], f"help does not pay: {steps} steps would be done {best:.2g} times as soon"
    least = best / ALIKE if not here else max(TIMES_MIN, best / ALIKE)
    if work.job.share == "always":
        least = best / ALIKE
    chosen = [replace(n, busy_s=n.busy_s + fetch_s) for times, n, fetch_s in found if times >= least]
    return chosen, f"{best:.2g} times as soon as the asker" if here else "the asker is away"


def _terms(work: Work, state: PlannerState, asker_step_s: float, helper: Candidate) -> Terms:
    """Of a helper by what its rounds took so far, or by what the planner expects of its first one."""
    known, rate = _known(state, helper.node), helper.reported_bytes_s or helper.usual_bytes_s
    newest = max((n.newest() for n in state.nodes.values()), default=0)
    late = 2.0 ** max(0.0, min(known.missed, LATE_MOST) - (newest - known.missed_at) / FORGOTTEN_ROUNDS)
    step_s, tau = known.step_s or helper.step_s, work.job.recipe.steps or STEPS_MOST
    if known.overhead is not None:
        round_s = known.overhead.seconds * 0.5 ** ((newest - known.round) / BETTER_ROUNDS)
    else:
        expected = plan(work, state, [helper], Left(), 1, replaces=True)
        round_s = expected.resources[0].overhead_s if isinstance(expected, RoundPlan) else OVERHEAD_S
    return Terms(asker_step_s, step_s, late * (round_s + tau * step_s) - tau * step_s, tau, rate)


def _work(work: Work, rest: Sequence[Candidate]) -> Work:
    """Where all train on the same samples, longer rounds cost nothing: nobody strays from the others."""
    if rest or work.job.recipe.steps:
        return work
    recipe = structs.replace(work.job.recipe, steps=STEPS_MOST)
    return replace(work, job=structs.replace(work.job, recipe=recipe))


def _known(state: PlannerState, node: NodeId) -> NodeState:
    return state.nodes.get(node, NodeState())
