"""Whether the former model should come back: it answers live labels too, and a paired e-value compares the
two.

Counted are labels that only one of the two has right.  If the model in use is at least as good, each is the
former one's with probability 1/2 at most.  The e-value is the likelihood ratio against that, averaged
uniformly over probabilities from 1/2 to 1 (Robbins' method of mixtures; Ramdas et al., Statistical Science
38, 2023):

    E = sum of C(m + 1, i) for i = 0 .. f, divided by (m + 1) C(m, f), for m labels, f the former one's

Under that hypothesis its mean is at most 1 at any time, so that it ever reaches 100 with probability 1/100
at most, however often one looks.  What the world does to both models alike moves nothing.
"""

from __future__ import annotations

import math

THRESHOLD = 100.0
EXACT_MAX = 1000  # labels; beyond it numbers are too large to be handled quickly


def e_value(former: int, current: int) -> float:
    """Of labels that only the `former` model has right, and that only the `current` one has right."""
    return math.exp(min(log_e_value(former, current), 700.0))


def log_e_value(former: int, current: int) -> float:
    """The natural logarithm of `e_value`."""
    if min(former, current) < 0:
        raise ValueError("counts are not negative")
    m = former + current
    if m <= EXACT_MAX:
        binomials = sum(math.comb(m + 1, i) for i in range(former + 1))
        return math.log(binomials) - math.log((m + 1) * math.comb(m, former))
    logs = [_log_binomial(m + 1, i) for i in range(former + 1)]
    largest = max(logs)
    total = largest + math.log(math.fsum(math.exp(value - largest) for value in logs))
    return total - math.log(m + 1) - _log_binomial(m, former)


def should_return(former: int, current: int) -> bool:
    """Whether the labels so far bring the former model back."""
    return log_e_value(former, current) >= math.log(THRESHOLD)


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
