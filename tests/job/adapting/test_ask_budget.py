"""An owner says how often a node asks for jobs by itself in a day, and how many bytes they may take of it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from muster.job.adapting.budget import AskBudget, AskLimits
from muster.job.owner.allowance import Clock
from muster.storage.memory import MemoryStore

HOUR_S = 3600.0


@dataclass
class Day:
    """A clock that a test sets, in UTC."""

    wall_s: float = 10 * HOUR_S
    up_s: float = 10_000.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall_s, time.gmtime, lambda: self.up_s)

    def pass_(self, seconds: float) -> None:
        self.wall_s += seconds
        self.up_s += seconds


def test_so_many_jobs_a_day_and_again_from_midnight() -> None:
    day, store = Day(), MemoryStore(random.Random(1))
    budget = AskBudget(AskLimits(2, 1000), store, day.clock())
    for _ in range(2):
        assert budget.why_not() is None
        budget.asked()
    assert budget.why_not() == "this node has asked for its 2 jobs of today; again from 00:00"
    day.pass_(13 * HOUR_S)
    assert budget.why_not() is not None
    day.pass_(1.1 * HOUR_S)
    assert budget.why_not() is None


def test_so_many_bytes_a_day() -> None:
    day, store = Day(), MemoryStore(random.Random(1))
    budget = AskBudget(AskLimits(2, 100_000), store, day.clock())
    budget.add_bytes(30_000)
    assert (budget.why_not(), budget.bytes_left()) == (None, 70_000)
    budget.add_bytes(70_000)
    assert budget.bytes_left() == 0
    assert budget.why_not() == "the jobs that this node asked for took its 100 kB of today; again from 00:00"
    day.pass_(15 * HOUR_S)
    assert (budget.why_not(), budget.bytes_left()) == (None, 100_000)


def test_the_count_survives_the_process_and_is_never_behind() -> None:
    day, store = Day(), MemoryStore(random.Random(1))
    first = AskBudget(AskLimits(3, 100_000), store, day.clock())
    first.asked()
    first.add_bytes(40_000)
    first.add_bytes(10)  # not written: within what was kept ahead
    killed = AskBudget(AskLimits(3, 100_000), store, day.clock())
    assert 58_000 < killed.bytes_left() <= 59_990
    killed.asked()
    killed.keep()
    again = AskBudget(AskLimits(3, 100_000), store, day.clock())
    again.asked()
    assert again.why_not() is not None
    day.pass_(15 * HOUR_S)
    tomorrow = AskBudget(AskLimits(3, 100_000), store, day.clock())
    assert (tomorrow.why_not(), tomorrow.bytes_left()) == (None, 100_000)


def test_another_day_that_begins_while_it_runs_clears_what_was_kept_ahead() -> None:
    day, store = Day(), MemoryStore(random.Random(1))
    budget = AskBudget(AskLimits(3, 100_000), store, day.clock())
    budget.add_bytes(90_000)
    day.pass_(15 * HOUR_S)
    budget.add_bytes(20_000)
    killed = AskBudget(AskLimits(3, 100_000), store, day.clock())
    assert 78_000 < killed.bytes_left() <= 80_000


def test_a_node_that_never_asks_says_so() -> None:
    budget = AskBudget(AskLimits(0), MemoryStore(random.Random(1)), Day().clock())
    assert budget.why_not() == "this node's policy is never to ask for a job by itself"
