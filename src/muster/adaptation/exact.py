"""Tails of the binomial distribution, exact to rounding, for any counts."""

from __future__ import annotations

import math


def log_pmf(k: int, n: int, p: float) -> float:
    """log P(X = k) for n draws of probability p in (0, 1)."""
    binomial = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return binomial + k * math.log(p) + (n - k) * math.log1p(-p)


def at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) for n draws of probability p."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0.0:
        return 1.0
    if p >= 1.0:
        return 0.0
    return min(1.0, math.fsum(math.exp(log_pmf(i, n, p)) for i in range(k + 1)))


def at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) for n draws of probability p."""
    return at_most(n - k, n, 1.0 - p)
