from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from muster.history.counted import Counted, Key

keys = st.builds(Key, st.sampled_from([b"a", b"b", b"c"]), st.integers(1, 3), st.integers(1, 12))
sets = st.frozensets(keys, max_size=25)


@given(sets, sets)
def test_it_is_a_set(a: frozenset[Key], b: frozenset[Key]) -> None:
    x, y = Counted.of(a), Counted.of(b)
    assert set(x) == a
    assert len(x) == len(a)
    assert set(x.union(y)) == a | b
    assert (x >= y) == (a >= b)
    assert (x == y) == (a == b)
    assert all((key in x) == (key in a) for key in a | b)
    if x == y:
        assert hash(x) == hash(y)


@given(sets, sets, sets)
def test_union_is_a_join(a: frozenset[Key], b: frozenset[Key], c: frozenset[Key]) -> None:
    x, y, z = map(Counted.of, (a, b, c))
    assert x.union(x) == x
    assert x.union(y) == y.union(x)
    assert x.union(y).union(z) == x.union(y.union(z))
    assert x.union(y) >= x
    assert (x >= y) == (x.union(y) == x)


@given(sets)
def test_ranges_are_canonical(a: frozenset[Key]) -> None:
    x = Counted.of(a)
    ranges = x.ranges()
    keys = [Key(r.node, r.incarnation, n) for r in ranges for n in range(r.first, r.last + 1)]
    assert Counted.of(keys) == x
    assert Counted.of(reversed(keys)).ranges() == ranges
    assert list(ranges) == sorted(ranges)
    for r, s in pairwise(ranges):
        assert (r.node, r.incarnation) != (s.node, s.incarnation) or r.last + 1 < s.first


@given(sets, keys)
def test_another_life_is_another_key(a: frozenset[Key], key: Key) -> None:
    other = key._replace(incarnation=key.incarnation + 10)
    assert other not in Counted.of(a).plus([key])
