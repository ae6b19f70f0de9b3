"""The links of a LAN: few a node, everybody connected, also after losses."""

from __future__ import annotations

import itertools
import random
from collections import deque
from dataclasses import dataclass, field
from statistics import fmean

import pytest

from muster.network.transport.lan.overlay import (
    COMPLETE_MAX,
    LINKS_MAX,
    LINKS_MOST,
    LINKS_SAFE,
    Member,
    ring_neighbours,
    to_dial,
)

LAG = (
    8  # dials of others until what a node says of its links is known: 0.2 s where 40 nodes dial once a second
)


@dataclass
class Lan:
    """Nodes that dial one after the other in a random order, by what the others said a little before."""

    rng: random.Random
    links: dict[bytes, set[bytes]] = field(default_factory=dict)
    said: dict[bytes, int] = field(default_factory=dict)  # by node: how many links it is known to have
    repairs: set[bytes] = field(default_factory=set)
    recent: deque[tuple[bytes, int]] = field(default_factory=deque)  # what was said since

    def start(self, count: int) -> None:
        for _ in range(count):
            node = self.rng.randbytes(8)
            self.links[node], self.said[node] = set(), 0

    def turn(self) -> bool:
        """Everybody dials one at most; whether somebody did."""
        dialled = False
        for node in sorted(self.links, key=lambda _: self.rng.random()):
            others = [Member(o, self.said[o], o in self.links[node]) for o in self.links if o != node]
            wanted = to_dial(node, len(self.links[node]), others, repairs=node in self.repairs)
            for other in wanted[:1]:
                dialled = True
                self.links[node].add(other)
                self.links[other].add(node)
                self.recent += [(one, len(self.links[one])) for one in (node, other)]
            self.known(2 * LAG)
        return dialled

    def known(self, but: int) -> None:
        """What was said becomes known, but for the last of it."""
        while len(self.recent) > but:
            node, links = self.recent.popleft()
            if node in self.links:
                self.said[node] = links

    def settle(self) -> None:
        assert any(not self.turn() for _ in range(30))
        self.known(0)
        self.repairs.clear()

    def lose(self, gone: set[bytes]) -> None:
        for node in gone:
            for other in self.links.pop(node):
                if other not in gone:
                    self.links[other].discard(node)
                    self.repairs.add(other)
            self.said.pop(node)
        self.said |= {node: len(self.links[node]) for node in self.repairs}  # they ask at once who is there

    def distances(self, start: bytes) -> dict[bytes, int]:
        found, queue = {start: 0}, deque([start])
        while queue:
            node = queue.popleft()
            for other in self.links[node] - found.keys():
                found[other] = found[node] + 1
                queue.append(other)
        return found

    def diameter(self) -> int:
        """Raises AssertionError where somebody reaches not everybody."""
        reach = [self.distances(node) for node in self.links]
        assert all(len(found) == len(self.links) for found in reach)
        return max(max(found.values()) for found in reach)

    def most(self) -> int:
        return max(map(len, self.links.values()))


def lan(seed: int, count: int, steps: int | None = None) -> Lan:
    """All start at once, or so many at a time."""
    made = Lan(random.Random(seed))
    while len(made.links) < count:
        made.start(min(steps or count, count - len(made.links)))
        if steps:
            made.settle()
    made.settle()
    return made


def test_a_small_lan_is_linked_completely() -> None:
    for count in range(2, COMPLETE_MAX + 1):
        made = lan(count, count)
        assert all(len(links) == count - 1 for links in made.links.values())


@pytest.mark.parametrize("seed", range(20))
def test_forty_that_start_at_once_have_few_links_each_and_short_paths(seed: int) -> None:
    made = lan(seed, 40)
    assert made.most() <= LINKS_MOST
    assert min(map(len, made.links.values())) >= LINKS_SAFE
    assert made.diameter() <= 4


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("seed", range(10))
def test_a_lan_that_grows_has_few_links_each_and_short_paths(seed: int, steps: int) -> None:
    made = lan(seed, 40, steps)
    # of several that come at once two may dial the same one before it says so
    assert made.most() <= LINKS_MOST + (steps > 1)
    assert fmean(map(len, made.links.values())) < LINKS_MOST - 0.5
    assert made.diameter() <= 6


@pytest.mark.parametrize("seed", range(20))
def test_forty_survive_the_loss_of_any_ten(seed: int) -> None:
    rng = random.Random(seed)
    for steps in (None, 1):
        made = lan(seed, 40, steps)
        alone = rng.choice(list(made.links))
        chance = set(rng.sample(list(made.links), 10))
        around = set(list(made.links[alone])[:10])  # all neighbours of one
        around |= set(rng.sample(sorted(made.links.keys() - around - {alone}), 10 - len(around)))
        for gone in (chance, around):
            left = Lan(rng, {n: set(links) for n, links in made.links.items()}, dict(made.said))
            left.lose(gone)
            left.settle()
            assert left.diameter() <= 6
            assert left.most() <= LINKS_MOST + 1


def test_two_halves_of_which_nobody_is_alone_find_together_over_the_ring() -> None:
    """Two complete groups, linked by two nodes only, which go."""
    made = Lan(random.Random(1))
    made.start(18)
    nodes = list(made.links)
    for half in (nodes[:9], nodes[9:]):
        for one, other in itertools.permutations(half, 2):
            made.links[one].add(other)
    made.links[nodes[0]].add(nodes[9])
    made.links[nodes[9]].add(nodes[0])
    made.lose({nodes[0]})
    made.said = {node: len(links) for node, links in made.links.items()}
    with pytest.raises(AssertionError):
        made.diameter()
    made.settle()
    assert made.diameter() <= 5


def test_three_hundred_have_no_more_links_each() -> None:
    made = lan(1, 300)
    assert made.most() <= LINKS_MAX + 1
    assert made.diameter() <= 7


def test_a_member_that_says_it_has_no_links_draws_only_those_that_want_some() -> None:
    others = [Member(bytes([n]) * 8, 5, linked=n < 6) for n in range(40)] + [Member(b"liar-liar", 0)]
    assert to_dial(b"o" * 8, 5, others) == []
    assert len(to_dial(b"o" * 8, 4, others)) == 1


def test_the_ring_closes() -> None:
    assert ring_neighbours(b"a" * 8, []) == []
    assert ring_neighbours(b"a" * 8, [b"b" * 8]) == [b"b" * 8] * 2
    nodes = [bytes([n]) * 8 for n in range(5)]
    neighbours = {n: ring_neighbours(n, [o for o in nodes if o != n]) for n in nodes}
    assert all(neighbours[behind][0] == node for node, (_, behind) in neighbours.items())
    assert all(neighbours[before][1] == node for node, (before, _) in neighbours.items())
