"""Whether a candidate goes into use: on this node's own held-out labels it must be better than
the model in use.

Counted are `wins`, labels that only the candidate has right, and `losses`, that only the model in use has
right.

* better (the default): of at least 20 labels, an exact one-sided sign test of wins against losses, p <= 0.05.
* not_worse (opt-in): of at least 300 labels, the 95 % lower bound of the difference in accuracy is above -2
  points, by the score test for paired answers (Tango, Statistics in Medicine 17, 1998).  It lets a new model
  in where nothing changed, and small losses too.

* merged (of the model in use with what others trained apart): of at least 20 labels, no sign test of losses
  against wins, p <= 0.01.  This node's labels cannot tell what was learnt from those of others.

"At least as good on the held-out labels" would be no gate: a worse candidate passes it half of the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from muster.adaptation import exact

LEVEL = 0.05
WORSE_LEVEL = 0.01  # a part knows its own labels best: only a great loss on them says that the merge failed
LABELS_MIN = 20
NOT_WORSE_LABELS_MIN = 300
NOT_WORSE_MARGIN = 0.02
Z_95 = 1.7  # 1.645 for very many labels; so much more that from 300 on it is exactly 5 % at most
RULES = ("better", "not_worse", "merged")


@dataclass(frozen=True)
class Verdict:
    """`why`: one sentence for people."""

    accepted: bool
    p: float
    why: str


def judge(labels: int, wins: int, losses: int, rule: str = "better") -> Verdict:
    """The decision on a candidate. Raises ValueError for counts that cannot be."""
    if rule not in RULES:
        raise ValueError(f"there is no rule {rule!r}: use one of {', '.join(RULES)}")
    if min(wins, losses) < 0 or wins + losses > labels:
        raise ValueError(f"{wins} wins and {losses} losses cannot be of {labels} labels")
    if labels < LABELS_MIN:
        why = f"there are {labels} held-out labels and {LABELS_MIN} are needed"
        return Verdict(False, 1.0, why)
    counts = f"{wins} won and {losses} lost of {labels} held-out labels"
    p = exact.at_least(wins, wins + losses, 0.5)
    if p <= LEVEL:
        return Verdict(True, p, f"it is better: {counts}")
    if rule == "merged":
        p = exact.at_least(losses, wins + losses, 0.5)
        worse = p <= WORSE_LEVEL
        return Verdict(not worse, p, f"it is {'worse' if worse else 'not surely worse'}: {counts}")
    if rule == "better":
        judgement = "worse" if losses > wins else "not surely better"
        return Verdict(False, p, f"it is {judgement}: {counts}")
    if labels < NOT_WORSE_LABELS_MIN:
        needed = f"to see that it is not worse {NOT_WORSE_LABELS_MIN} are needed"
        return Verdict(False, p, f"it is not surely better: {counts}; {needed}")
    z = score(labels, wins, losses, -NOT_WORSE_MARGIN)
    p = 0.5 * math.erfc(z / math.sqrt(2.0))
    if z > Z_95:
        return Verdict(True, p, f"it is not worse: {counts}")
    return Verdict(False, p, f"it may be worse by {NOT_WORSE_MARGIN:.0%} or more: {counts}")


def score(labels: int, wins: int, losses: int, difference: float) -> float:
    """Tango's score statistic, about standard normal, of the hypothesis that the candidate's accuracy less
    that of the model in use is `difference` (not 0)."""
    n, b, c, d = labels, wins, losses, difference
    # the most likely share of losses under the hypothesis, a root of 2n q^2 + linear q + constant
    linear = -b - c + (2 * n - b + c) * d
    constant = -c * d * (1.0 - d)
    q = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2.0 * q + d * (1.0 - d))
    return (b - c - n * d) / math.sqrt(max(variance, 1e-12))
