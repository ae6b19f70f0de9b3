"""One data set among several nodes: i.i.d., by classes, or Dirichlet (label skew), from a seed.

`split` gives the indices of every node; all data is used, no sample twice.  `dirichlet:A` follows Hsu, Qi,
Brown (2019, arXiv 1909.06335): node shares of each class are drawn from Dir(A); small A is strong skew.
With `alone:N:M` each of the last M nodes has N classes that nobody else has.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from muster.errors import MusterError

PARTS_MAX = 10_000
FORMS = "iid, classes:N, alone:N:M or dirichlet:A"
_HELP = f"use {FORMS}, such as classes:2"


def parse(spec: str) -> tuple[str, tuple[float, ...]]:
    """Kind and numbers: ("iid", ()), ("classes", (N,)), ("alone", (N, M)) or ("dirichlet", (A,)).

    Raises MusterError("usage").
    """
    kind, *texts = spec.split(":")
    try:
        numbers = tuple(float(text) for text in texts)
    except ValueError:
        numbers = (math.nan,)
    if (kind, len(numbers)) in (("iid", 0), ("classes", 1), ("alone", 2)):
        if all(1 <= number < math.inf and number == int(number) for number in numbers):
            return kind, numbers
    elif (kind, len(numbers)) == ("dirichlet", 1) and 0 < numbers[0] < math.inf:
        return kind, numbers
    raise MusterError("usage", f"the split {spec!r} is not known: {_HELP}")


def split(labels: ArrayLike, spec: str, parts: int, seed: int) -> list[NDArray[np.int64]]:
    """`parts` sorted index arrays over `labels` (n integers); equal arguments give equal parts.

    With `classes:N` each node holds N classes, each class is held by some node when parts * N allows, and
    sizes are balanced as far as the classes are.  `alone:N:M` does so with all nodes but the last M.

    Raises MusterError("usage") when it cannot be done.
    """
    kind, numbers = parse(spec)
    y: NDArray[Any] = np.asarray(labels).reshape(-1)
    if not 1 <= parts <= PARTS_MAX:
        raise MusterError("usage", f"cannot split data into {parts} parts: use 1 to {PARTS_MAX}")
    if len(y) < parts:
        raise MusterError("usage", f"cannot split {len(y)} samples among {parts} nodes: use fewer nodes")
    rng = np.random.default_rng([seed, parts])
    if kind == "iid":
        shares = np.array_split(rng.permutation(len(y)), parts)
    elif kind == "classes":
        shares = _by_classes(y, int(numbers[0]), parts, rng)
    elif kind == "alone":
        shares = _alone(y, int(numbers[0]), int(numbers[1]), parts, rng)
    else:
        shares = _dirichlet(y, numbers[0], parts, rng)
    return [np.sort(np.asarray(share, np.int64)) for share in shares]


def _pools(y: NDArray[Any], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """The shuffled indices of each class, in order of the class."""
    return [rng.permutation(np.flatnonzero(y == c)) for c in np.unique(y)]


def _by_classes(y: NDArray[Any], each: int, parts: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Deal the classes like cards, round after round in a fresh order, then cut each among its holders."""
    pools = _pools(y, rng)
    count = len(pools)
    if each > count:
        raise MusterError("usage", f"the data has {count} classes, classes:{each} asks for more")
    if each * parts < count:  # the classes that nobody can hold must go somewhere: all data is used
        each = math.ceil(count / parts)
    held: list[set[int]] = [set() for _ in range(parts)]
    deck: list[int] = []
    for node in list(range(parts)) * each:
        if all(c in held[node] for c in deck):  # empty, or nothing in it that this node lacks
            deck += [int(c) for c in rng.permutation(count)]
        card = next(i for i, c in enumerate(deck) if c not in held[node])
        held[node].add(deck.pop(card))
    given: list[list[NDArray[np.int64]]] = [[] for _ in range(parts)]
    for c, pool in enumerate(pools):
        holders = [node for node in range(parts) if c in held[node]]
        if not holders:
            raise AssertionError("every class has a holder")
        for node, piece in zip(holders, np.array_split(pool, len(holders)), strict=True):
            given[node].append(piece)
    return [np.concatenate(pieces) for pieces in given]


def _alone(
    y: NDArray[Any], each: int, last: int, parts: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """The last nodes take `each` classes whole, the others divide what is left by `classes:each`."""
    classes = rng.permutation(np.unique(y))
    others = parts - last
    if others < 1:
        raise MusterError("usage", f"all {parts} nodes would be alone with their classes: name fewer of them")
    if last * each + each > len(classes):
        raise MusterError(
            "usage",
            f"the data has {len(classes)} classes: {last} nodes with {each} of their own leave fewer than "
            f"{each} for the others",
        )
    taken = [
        rng.permutation(np.flatnonzero(np.isin(y, classes[i * each : (i + 1) * each]))) for i in range(last)
    ]
    left = np.flatnonzero(np.isin(y, classes[last * each :]))
    return [left[share] for share in _by_classes(y[left], each, others, rng)] + taken


def _dirichlet(
    y: NDArray[Any], alpha: float, parts: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    given: list[list[NDArray[np.int64]]] = [[] for _ in range(parts)]
    for pool in _pools(y, rng):
        shares = rng.dirichlet(np.full(parts, alpha))
        shares = shares if np.isfinite(shares).all() else np.eye(parts)[rng.integers(parts)]
        cuts = np.rint(np.cumsum(shares)[:-1] * len(pool)).astype(int)
        for node, piece in enumerate(np.split(pool, cuts)):
            given[node].append(piece)
    whole = [np.concatenate(pieces) for pieces in given]
    while min(len(part) for part in whole) == 0:  # a node without any data cannot take part
        largest = max(range(parts), key=lambda node: len(whole[node]))
        smallest = min(range(parts), key=lambda node: len(whole[node]))
        whole[smallest], whole[largest] = whole[largest][:1], whole[largest][1:]
    return whole


def holdout(labels: ArrayLike, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(kept, held out): `share` of each class, and at least one sample if there are two, is held out."""
    y: NDArray[Any] = np.asarray(labels).reshape(-1)
    rng = np.random.default_rng([seed, 0x5EED])
    out = [pool[: round(share * len(pool))] for pool in _pools(y, rng)]
    chosen = np.concatenate(out) if out else np.empty(0, np.int64)
    if len(chosen) == 0 and len(y) > 1:
        chosen = rng.permutation(len(y))[:1]
    mask = np.zeros(len(y), bool)
    mask[chosen] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def balanced(labels: ArrayLike, count: int, seed: int) -> NDArray[np.int64]:
    """At most `count` places of `labels`, drawn from `seed`: of all classes as many, as far as there are."""
    rng = np.random.default_rng([seed, count])
    pools = [list(pool) for pool in _pools(np.asarray(labels).reshape(-1), rng)]
    chosen: list[int] = []
    while len(chosen) < count and any(pools):
        for pool in pools:
            if pool and len(chosen) < count:
                chosen.append(int(pool.pop()))
    return np.sort(np.asarray(chosen, np.int64))
