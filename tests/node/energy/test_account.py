"""What a node uses, by the state that it is in, and which job is charged with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.node.energy.account import EnergyAccount
from muster.node.energy.meters import PowerModel
from muster.node.energy.presets import Radio
from muster.node.energy.radio import RadioModel
from muster.protocol.parts import Power

A, B = b"a" * 32, b"b" * 32


class World:
    """A clock and the bytes of a node."""

    def __init__(self) -> None:
        self.now_s, self.sent, self.received = 10.0, 0, 0

    def account(self, radio: Radio | None = None, idle_w: float = 2.0, train_w: float = 5.0) -> EnergyAccount:
        return EnergyAccount(
            PowerModel(idle_w, train_w),
            radio,
            now=lambda: self.now_s,
            traffic=lambda: (self.sent, self.received),
        )

    def passes(self, seconds: float) -> None:
        self.now_s += seconds


class FakeMeter:
    """Shows what it is told to."""

    name, settles_s = "a fake", 1.0

    def __init__(self) -> None:
        self.watts: float | None = 3.0

    def used_j(self, elapsed_s: float, training: float) -> float | None:
        return None if self.watts is None else self.watts * elapsed_s


def test_waiting_and_training_are_counted_by_their_watts_from_change_to_change() -> None:
    world = World()
    account = world.account()
    account.begin(A)
    world.passes(10)
    with account.computing():
        world.passes(4)
        with account.computing():  # two jobs at the same time draw no more
            world.passes(1)
    world.passes(3)
    assert account.due_mj(A) == 2000 * 13 + 5000 * 5


def test_a_trainer_that_computes_a_share_of_the_time_draws_as_much() -> None:
    world = World()
    account = world.account()
    account.begin(A)
    with account.computing(0.2):
        world.passes(10)
        assert account.now_w() == pytest.approx(2.6)
    assert account.due_mj(A) == pytest.approx(26_000, abs=1)
    assert account.power(0.2) == Power(2.0, 2.6)
    assert account.power() == Power(2.0, 5.0)


def test_a_training_that_fails_counts_as_long_as_it_took() -> None:
    world = World()
    account = world.account()
    account.begin(A)

    def fails() -> None:
        with account.computing():
            world.passes(2)
            raise ChildProcessError

    with pytest.raises(ChildProcessError):
        fails()
    world.passes(2)
    assert account.due_mj(A) == 2 * 5000 + 2 * 2000


def test_without_a_meter_nothing_is_made_up() -> None:
    account = EnergyAccount()
    account.begin(A)
    with account.computing():
        account.look()
    assert (account.due_mj(A), account.power(), account.now_w(), account.used_j()) == (0, None, None, 0.0)


def test_a_job_is_charged_from_its_offer_on_and_each_joule_once() -> None:
    world = World()
    account = world.account()
    world.passes(100)
    account.begin(A)
    world.passes(5)
    account.begin(A)  # another offer of the same job
    assert account.due_mj(A) == 10_000
    world.passes(5)
    account.begin(B)
    account.charge(A, account.due_mj(A))
    assert (account.due_mj(A), account.due_mj(B)) == (0, 0)
    world.passes(2)
    assert (account.due_mj(A), account.due_mj(B)) == (4000, 4000)
    account.charge(B, 4000)
    assert (account.due_mj(A), account.due_mj(B)) == (0, 0)


def test_an_update_that_was_not_kept_is_due_again() -> None:
    world = World()
    account = world.account()
    account.begin(A)
    world.passes(3)
    assert account.due_mj(A) == 6000
    world.passes(1)
    assert account.due_mj(A) == 8000


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["begin", "charge", "train"]), st.floats(0, 50)),
        max_size=40,
    )
)
def test_jobs_are_never_charged_with_more_than_was_used(steps: list[tuple[str, str, float]]) -> None:
    world = World()
    account = world.account(Radio(1e-3, 1e-3, 1.0, 2.0))
    charged = 0
    for name, what, seconds in steps:
        job = name.encode() * 32
        world.sent += round(seconds)
        world.passes(seconds)
        if what == "begin":
            account.begin(job)
        elif what == "train":
            with account.computing():
                world.passes(seconds)
        else:
            due = account.due_mj(job)
            account.charge(job, due)
            charged += due
            assert account.due_mj(job) <= 1
    assert charged <= 1000 * account.used_j() + 1e-6


def test_bytes_cost_each_and_an_exchange_its_tail_once() -> None:
    model = RadioModel(Radio(2.0, 1.0, 6.0, 10.0), 0.0)
    assert model.used_j(5.0, 0, 0) == 0.0
    assert model.used_j(6.0, 3, 4) == 10.0
    assert model.used_j(8.0, 3, 4) == pytest.approx(1.2)
    assert model.used_j(30.0, 3, 4) == pytest.approx(4.8)
    assert model.used_j(60.0, 3, 4) == 0.0
    model.used_j(61.0, 4, 4)
    model.used_j(66.0, 5, 4)  # within the tail of the one before: 5 s of it, and a whole one
    assert model.used_j(100.0, 5, 4) == pytest.approx(6.0)


def test_the_radio_is_counted_beside_the_watts_and_said_in_the_power() -> None:
    world = World()
    account = world.account(Radio(2e-3, 1e-3, 0.5, 1.0))
    account.begin(A)
    world.sent, world.received = 1000, 3000
    world.passes(1)
    assert account.due_mj(A) == 2000 + 2000 + 3000
    world.passes(9)
    assert account.due_mj(A) == 20_000 + 5000 + 500
    assert account.power() == Power(2.0, 5.0, 2e-3, 1e-3, 0.5)


def test_a_meter_teaches_the_watts_of_each_state_and_says_when_it_cannot_tell() -> None:
    world, meter = World(), FakeMeter()
    account = EnergyAccount(meter, now=lambda: world.now_s)
    account.begin(A)
    world.passes(5)
    assert account.power() is None  # it has not been seen training
    with account.computing():
        meter.watts = 8.0
        world.passes(0.5)
    assert account.power() is None  # not for long enough
    meter.watts = 3.0
    world.passes(5)
    account.look()
    with account.computing():
        meter.watts = 8.0
        world.passes(2)
    assert account.power() == Power(3.0, 8.0)
    meter.watts = None
    due = account.due_mj(A)
    world.passes(7)
    assert account.due_mj(A) == due
    assert account.untold_s == 7
