"""The count of what others used: kept over restarts, never behind the truth, said as sentences."""

from __future__ import annotations

import random
import time

import pytest

from muster.job.owner.allowance import Allowance, Clock, Left, OwnerLimits
from muster.job.owner.hours import parse
from muster.storage.memory import MemoryStore
from muster.storage.store import DiskFull

HOUR = 3600.0
MB = 1_000_000
NOON_S = 20_000 * 86_400 + 12 * HOUR
JOB = b"j" * 32


class Node:
    """A store and a clock; `start` gives its next process's allowance."""

    def __init__(self, limits: OwnerLimits) -> None:
        self.limits, self.store = limits, MemoryStore(random.Random(1))
        self.wall_s, self.measured_s = NOON_S, 5000.0
        self.allowance = self.start()

    def start(self) -> Allowance:
        clock = Clock(lambda: self.wall_s, time.gmtime, lambda: self.measured_s)
        self.allowance = Allowance(self.limits, self.store, clock)
        return self.allowance

    def later(self, hours: float) -> None:
        for _ in range(round(60 * hours)):
            self.wall_s, self.measured_s = self.wall_s + 60.0, self.measured_s + 60.0
            self.allowance.why_not()


def test_without_limits_nothing_is_counted_or_kept() -> None:
    node = Node(OwnerLimits())
    node.allowance.add_bytes(MB)
    node.allowance.keep()
    assert node.allowance.left() == Left()
    assert node.allowance.why_not() is None
    assert node.store.state("given") is None


def test_what_is_used_up_is_refused_until_midnight() -> None:
    node = Node(OwnerLimits(bytes_per_day=20 * MB))
    node.allowance.add_bytes(19 * MB)
    assert node.allowance.why_not() is None
    assert node.allowance.left().bytes == MB
    node.allowance.add_bytes(2 * MB)
    assert node.allowance.why_not() == "it has given its 20 MB of today; again from 00:00"
    assert node.allowance.bytes_given
    node.later(11.9)
    assert node.allowance.why_not() == "it has given its 20 MB of today; again from 00:00"
    node.later(0.2)
    assert node.allowance.why_not() is None
    assert node.allowance.left().bytes == 20 * MB


def test_joules_are_a_limit_of_their_own() -> None:
    node = Node(OwnerLimits(joules_per_day=500))
    node.allowance.add_joules(500.5)
    assert node.allowance.why_not() == "it has given its 500 J of today; again from 00:00"
    assert not node.allowance.bytes_given


@pytest.mark.parametrize("kills", [1, 500])
def test_a_node_that_is_killed_again_and_again_gives_no_more(kills: int) -> None:
    """Each restart may cost a hundredth of the day, and gives nothing."""
    node, given = Node(OwnerLimits(bytes_per_day=20 * MB)), 0
    for _ in range(kills):
        while node.allowance.why_not() is None and given < 40 * MB:
            node.allowance.add_bytes(10_000)
            given += 10_000
            if kills > 1 and given % 50_000 == 0:
                break
        node.start()
    assert (0.2 if kills > 1 else 0.99) * 20 * MB <= given <= 20 * MB


def test_a_closed_node_keeps_the_true_count() -> None:
    node = Node(OwnerLimits(bytes_per_day=20 * MB))
    node.allowance.add_bytes(MB)
    node.allowance.keep()
    assert node.start().left().bytes == 19 * MB


def test_few_writes_for_many_bytes() -> None:
    node, writes = Node(OwnerLimits(bytes_per_day=20 * MB)), 0
    set_state = node.store.set_state

    def counted(key: str, value: bytes | None) -> None:
        nonlocal writes
        writes += 1
        set_state(key, value)

    node.store.set_state = counted  # type: ignore[method-assign]
    for _ in range(2_000):
        node.allowance.add_bytes(10_000)
    assert writes <= 101


def test_a_full_disk_loses_no_count_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(OwnerLimits(bytes_per_day=MB))

    def full(key: str, value: bytes | None) -> None:
        raise DiskFull("full")

    monkeypatch.setattr(node.store, "set_state", full)
    node.allowance.add_bytes(2 * MB)
    assert node.allowance.why_not() is not None


def test_a_count_that_cannot_be_read_begins_anew() -> None:
    node = Node(OwnerLimits(bytes_per_day=MB))
    node.store.set_state("given", b"\xc1")
    assert node.start().left().bytes == MB


def test_hours_are_the_owners() -> None:
    node = Node(OwnerLimits(hours=parse("22:00-06:00, 12:30-13:00")))
    assert node.allowance.closed
    said = "it works for others from 22:00 to 06:00 and 12:30 to 13:00 only; again from 12:30"
    assert node.allowance.why_not() == said
    assert node.allowance.look_again_s() == 60.0
    node.later(0.5)
    assert node.allowance.why_not() is None
    assert node.allowance.left().available_s == pytest.approx(0.5 * HOUR)
    node.later(0.5)
    again = node.allowance.why_not()
    assert again is not None
    assert again.endswith("again from 22:00")


def test_a_round_that_does_not_fit_is_not_begun() -> None:
    node = Node(OwnerLimits(bytes_per_day=20 * MB))
    for cost in (12, 3, 3):  # the first one brought the whole model
        node.allowance.add_bytes(cost * MB)
        node.allowance.round_done(JOB)
    said = "what is left of its 20 MB of today is too little for a round; again from 00:00"
    assert node.allowance.why_not() == said
    assert not node.allowance.bytes_given


@pytest.mark.parametrize(("limit", "said"), [(999, "999 B"), (60_000, "60 kB"), (2_500_000_000, "2.5 GB")])
def test_a_limit_is_said_in_its_unit(limit: int, said: str) -> None:
    node = Node(OwnerLimits(bytes_per_day=limit))
    node.allowance.add_bytes(limit)
    assert node.allowance.why_not() == f"it has given its {said} of today; again from 00:00"


def test_half_of_what_was_offered_is_worth_another_offer() -> None:
    assert Left(40, None).half_of(Left(100, None))
    assert not Left(60, None).half_of(Left(100, None))
    assert Left(100, 1.0).half_of(Left(100, 9.0))
    assert not Left().half_of(Left())


def test_a_clock_that_is_set_while_it_runs_gives_nothing() -> None:
    node = Node(OwnerLimits(bytes_per_day=MB))
    node.allowance.add_bytes(MB)
    node.wall_s += 86_400.0
    said = "it has given its 1 MB of today; again from 12:00"
    assert node.allowance.why_not() == said
    node.wall_s -= 3 * 86_400.0
    assert node.start().why_not() == said
    node.later(23.9)
    assert node.allowance.why_not() == said
    node.later(0.2)
    assert node.allowance.why_not() is None
