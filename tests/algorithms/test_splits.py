from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.algorithms.splits import holdout, parse, split
from muster.errors import MusterError

LABELS = np.repeat(np.arange(10), 40)
specs = st.one_of(
    st.just("iid"),
    st.integers(1, 10).map(lambda n: f"classes:{n}"),
    st.sampled_from(["dirichlet:0.05", "dirichlet:0.5", "dirichlet:100"]),
)


@settings(max_examples=60)
@given(specs, st.integers(1, 30), st.integers(0, 2**31))
def test_every_sample_is_used_once_and_nobody_is_empty(spec: str, parts: int, seed: int) -> None:
    shares = split(LABELS, spec, parts, seed)
    assert len(shares) == parts
    assert all(len(share) for share in shares)
    assert np.array_equal(np.sort(np.concatenate(shares)), np.arange(len(LABELS)))


@given(specs, st.integers(1, 12), st.integers(0, 2**31))
def test_equal_seeds_give_equal_parts(spec: str, parts: int, seed: int) -> None:
    one, two = split(LABELS, spec, parts, seed), split(LABELS, spec, parts, seed)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@given(st.integers(1, 10), st.integers(1, 30), st.integers(0, 2**31))
def test_classes_n_gives_each_node_n_classes(each: int, parts: int, seed: int) -> None:
    shares = split(LABELS, f"classes:{each}", parts, seed)
    held = [len(np.unique(LABELS[share])) for share in shares]
    if each * parts >= 10:
        assert held == [each] * parts
    else:
        assert sum(held) >= 10  # every class has a holder all the same


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**31))
def test_the_last_nodes_are_alone_with_their_classes(each: int, last: int, seed: int) -> None:
    if each * (last + 1) > 10:
        return
    shares = split(LABELS, f"alone:{each}:{last}", 8, seed)
    held = [set(LABELS[share].tolist()) for share in shares]
    assert np.array_equal(np.sort(np.concatenate(shares)), np.arange(len(LABELS)))
    for number in range(8 - last, 8):
        assert len(held[number]) == each
        assert not held[number] & set().union(*held[:number], *held[number + 1 :])
        assert len(shares[number]) == 40 * each  # all of them
    assert all(len(classes) >= each for classes in held[: 8 - last])


def test_who_is_alone_with_what_is_drawn_from_the_seed() -> None:
    drawn = {tuple(np.unique(LABELS[split(LABELS, "alone:2:2", 8, seed)[7]])) for seed in range(20)}
    assert len(drawn) > 5


@given(st.integers(0, 2**31))
def test_eight_nodes_with_two_classes_are_balanced(seed: int) -> None:
    """16 holdings of 10 classes: six are shared by two nodes, four are held whole by one."""
    sizes = [len(share) for share in split(LABELS, "classes:2", 8, seed)]
    assert min(sizes) >= 40
    assert max(sizes) <= 80


def test_seeds_differ() -> None:
    assert not np.array_equal(split(LABELS, "iid", 4, 1)[0], split(LABELS, "iid", 4, 2)[0])


def test_dirichlet_skew_falls_with_alpha() -> None:
    def largest_share(alpha: float) -> float:
        shares = split(LABELS, f"dirichlet:{alpha}", 8, 3)
        return float(np.mean([np.bincount(LABELS[s]).max() / len(s) for s in shares]))

    assert largest_share(0.05) > 0.6 > 0.25 > largest_share(100)


@pytest.mark.parametrize(
    "spec",
    ["", "iid:3", "classes", "classes:0", "classes:1.5", "dirichlet:-1", "x:2", "alone:2", "alone:0:2"],
)
def test_unknown_split(spec: str) -> None:
    with pytest.raises(MusterError, match="use iid"):
        parse(spec)


def test_impossible_splits() -> None:
    with pytest.raises(MusterError, match="10 classes"):
        split(LABELS, "classes:11", 4, 0)
    with pytest.raises(MusterError, match="leave fewer than 2 for the others"):
        split(LABELS, "alone:2:5", 8, 0)
    with pytest.raises(MusterError, match="all 2 nodes would be alone"):
        split(LABELS, "alone:2:2", 2, 0)
    with pytest.raises(MusterError, match="fewer nodes"):
        split([0, 1], "iid", 3, 0)
    with pytest.raises(MusterError, match="parts"):
        split(LABELS, "iid", 0, 0)


def test_holdout_is_stratified() -> None:
    kept, held = holdout(LABELS, 0.2, 7)
    assert np.array_equal(np.bincount(LABELS[held]), np.full(10, 8))
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(400))
    assert np.array_equal(holdout(LABELS, 0.2, 7)[1], held)
    assert [len(part) for part in holdout([3, 3], 0.1, 0)] == [1, 1]
