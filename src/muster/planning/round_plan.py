"""A planned round as a value, and as a sentence; or why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from muster.planning.costs import Usage
from muster.planning.messages import MessagePlan
from muster.planning.rounds import Resources, Round
from muster.protocol.ids import NodeId
from muster.protocol.parts import Assignment

ROUNDS_SHOWN_MAX = 1000  # of more nothing binds yet
HALVED = ("halved", "halved twice", "halved 3 times")


@dataclass(frozen=True)
class RoundPlan:
    """One round as planned. `tau`: steps of the median node; `binds`: what the job is shortest of."""

    round: Round
    messages: MessagePlan
    resources: tuple[Resources, ...]
    tau: int
    usage: Usage
    joules: Mapping[NodeId, float]
    binds: str | None = None
    last: bool = False
    ratio: float | None = None  # that the steps follow from; None: their number is given
    halvings: int = 0
    rounds_left: float = math.inf  # that what binds allows, this one among them
    stand_ins: tuple[Assignment, ...] = ()  # on the samples of nodes that miss it, sorted by whose
    helps: str = ""  # how much sooner helpers make the asker's part
    unhelped: str = ""  # why nodes that could help do not

    @property
    def why(self) -> str:
        """The plan in one sentence, which travels with it: short."""
        counts = sorted(a.steps for a in self.round.assignments)
        steps = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
        text = f"{len(counts)} node{'s' * (len(counts) > 1)}, {steps} step{'s' * (counts[-1] > 1)}"
        if self.halvings:
            text += f" ({HALVED[min(len(HALVED), self.halvings) - 1]})"
        elif self.ratio is not None and not math.isinf(self.ratio):
            more = f"{self.ratio:.1f}" if self.ratio < 9.95 else f"{self.ratio:.0f}"
            text += f" (a round costs {more} more)"
        text += f", {self.usage.seconds:.1f} s expected"
        if self.helps:
            helpers = sum(bool(a.data) for a in self.round.assignments)
            text += f"; {helpers} help{'s' * (helpers == 1)}: {self.helps}"
        if self.unhelped:
            text += f"; without helpers: {self.unhelped}"
        if self.last:
            return f"{text}; last: {self.binds} run out"
        if self.binds in ("seconds", "bytes", "joules") and self.rounds_left < ROUNDS_SHOWN_MAX:
            text += f"; {self.binds} bind: {self.rounds_left:.0f} rounds left"
        return text


@dataclass(frozen=True)
class NothingFits:
    """No round fits into what is left, and why. `poor`: it is these nodes that may spend no more."""

    why: str
    poor: tuple[NodeId, ...] = ()
