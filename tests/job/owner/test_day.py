"""When a day's count ends: no clock that is set gives a second budget, and none locks a node for good."""

from __future__ import annotations

import random

from muster.job.owner.day import DAY_S, HALF_DAY_S, LONGEST_DAY_S, DayUse, Moment, ends_in_s, looked, resumed

HOUR = 3600.0


class Owner:
    """A node's clock and count; the clock is looked at every minute while the process runs."""

    def __init__(self, hour: float, day: int = 400) -> None:
        self.wall_s, self.real_s = day * DAY_S + hour * HOUR, 0.0
        self.booting = False
        self.use = DayUse(self.now.day, self.wall_s)
        self.began = [0.0]  # when a count began, in real seconds

    @property
    def now(self) -> Moment:
        return Moment(int(self.wall_s // DAY_S), self.wall_s % DAY_S, self.wall_s, self.booting)

    def run(self, hours: float) -> None:
        for _ in range(round(60 * hours)):
            self.wall_s, self.real_s = self.wall_s + 60.0, self.real_s + 60.0
            self._take(looked(self.use, self.now, 60.0))

    def off(self, hours: float, *, clock: bool = True) -> None:
        """Switched off, and started again. Without a `clock` of its own it thinks that it is 1970."""
        self.real_s += hours * HOUR
        self.wall_s = self.wall_s + hours * HOUR if clock else 100.0
        self._take(resumed(self.use, self.now))

    def set(self, hours: float) -> None:
        """Somebody sets the clock."""
        self.wall_s += hours * HOUR
        self._take(looked(self.use, self.now, 0.0))

    def _take(self, use: DayUse) -> None:
        if use.ran_s < self.use.ran_s or use.day != self.use.day:
            self.began.append(self.real_s)
        self.use = use


def test_a_day_begins_at_midnight_also_the_first_one() -> None:
    owner = Owner(18)
    assert ends_in_s(owner.use, owner.now) == 6 * HOUR
    owner.run(5.9)
    assert owner.began == [0.0]
    owner.run(48.2)
    assert owner.began == [0.0, 6 * HOUR, 30 * HOUR, 54 * HOUR]


def test_a_clock_set_to_tomorrow_gives_no_second_budget() -> None:
    owner = Owner(9)
    owner.run(1.0)
    owner.set(24.0)
    owner.run(22.9)
    assert owner.began == [0.0]
    owner.run(39.3 - 23.9)
    assert owner.began == [0.0, DAY_S, 39 * HOUR], "24 hours, and then the next midnight but the first"


def test_a_clock_set_over_midnight_by_a_few_minutes_gives_none() -> None:
    owner = Owner(23.5)
    owner.run(0.2)
    owner.set(0.4)
    owner.run(23.0)
    assert owner.began == [0.0]


def test_a_clock_that_jumps_to_and_fro_gives_one_budget_a_day() -> None:
    rng = random.Random(5)
    owner = Owner(9)
    for _ in range(300):
        owner.run(rng.random())
        owner.set(rng.choice((-48, -24, -1, 1, 24, 48)))
    gaps = [b - a for a, b in zip(owner.began, owner.began[1:], strict=False)]
    assert len(gaps) >= 5
    assert min(gaps) >= DAY_S - 61.0
    assert max(gaps) <= LONGEST_DAY_S + 61.0


def test_two_counts_never_begin_within_half_a_day_whenever_the_clock_is_set_once() -> None:
    for hour in range(24):
        for jump in (-30, -12, -3, 3, 12, 30):
            owner = Owner(hour)
            owner.run(0.5)
            owner.set(jump)
            owner.run(90.0)
            gaps = [b - a for a, b in zip(owner.began, owner.began[1:], strict=False)]
            assert min(gaps) >= HALF_DAY_S - 61.0, (hour, jump, gaps)
            assert max(gaps) <= 36 * HOUR, (hour, jump, gaps)


def test_a_clock_set_to_last_year_locks_nobody() -> None:
    owner = Owner(9)
    owner.run(1.0)
    owner.set(-365 * 24.0)
    assert owner.began == [0.0]
    owner.run(24.0)
    assert owner.began == [0.0, DAY_S]


def test_a_clock_that_stands_still_locks_nobody() -> None:
    use, counts = DayUse(0, 50.0), 0
    for _ in range(60):
        before, use = use, looked(use, Moment(0, 50.0, 50.0, False), HOUR)
        counts += use.ran_s < before.ran_s
    assert counts == 2


def test_a_night_switched_off_is_a_new_day() -> None:
    owner = Owner(18)
    owner.run(1.0)
    owner.off(13.0)
    assert owner.began == [0.0, 14 * HOUR]
    owner.run(16.2)
    assert owner.began == [0.0, 14 * HOUR, 30 * HOUR]


def test_a_restart_in_the_evening_moves_no_midnight() -> None:
    owner = Owner(18)
    owner.run(2.0)
    owner.off(0.01)
    owner.run(4.1)
    assert len(owner.began) == 2
    assert owner.began[1] <= 6.02 * HOUR


def boot(owner: Owner, off_hours: float) -> None:
    """A board without a clock of its own is started, and asks the network what time it is."""
    true_s = owner.wall_s + off_hours * HOUR
    owner.booting = True
    owner.off(off_hours, clock=False)
    owner.run(0.1)
    owner.set((true_s - owner.wall_s) / HOUR + 0.1)
    owner.booting = False


def test_a_board_whose_clock_begins_in_1970_at_each_start_gets_no_budget_by_that() -> None:
    owner = Owner(9)
    for _ in range(6):
        boot(owner, 0.1)
        owner.run(1.0)
    assert owner.began == [0.0]
    boot(owner, 12.0)
    assert len(owner.began) == 2, "it was off over midnight"


def test_a_board_that_never_learns_the_time_counts_its_own_hours() -> None:
    owner = Owner(9)
    owner.off(1.0, clock=False)
    owner.run(60.0)
    gaps = [b - a for a, b in zip(owner.began, owner.began[1:], strict=False)]
    assert len(owner.began) == 3
    assert min(gaps) >= HALF_DAY_S


def test_when_the_next_day_begins_is_said_rightly() -> None:
    for jump in (-20.0, 0.0, 24.0):
        owner = Owner(9)
        owner.run(1.0)
        owner.set(jump)
        owner.run(ends_in_s(owner.use, owner.now) / HOUR - 0.05)
        assert owner.began == [0.0]
        owner.run(0.1)
        assert len(owner.began) == 2
