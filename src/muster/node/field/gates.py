"""How a candidate is judged, and how that is said to people: `adaptation/gate.py` in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from muster.adaptation.gate import judge
from muster.node.field.situation import Rule


@dataclass(frozen=True)
class Compared:
    """How a candidate and the model in use answered the same held-out labels."""

    labels: int
    right: int  # the candidate
    right_used: int
    wins: int  # labels that the candidate alone has right
    losses: int  # that the model in use alone has right

    def sentence(self) -> str:
        """What was found, without a verdict."""
        right = f"it is right on {self.right} of {self.labels} held-out labels"
        return f"{right}, the model in use on {self.right_used}"


def judged(found: Compared, rule: Rule) -> tuple[bool, str]:
    """Whether a candidate goes into use, and why, with figures."""
    verdict = judge(found.labels, found.wins, found.losses, rule)
    return verdict.accepted, found.sentence() if verdict.accepted else f"{found.sentence()} ({verdict.why})"
