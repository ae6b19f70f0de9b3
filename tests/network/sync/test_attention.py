"""A process that stood still reads what came meanwhile before it judges others by age."""

from __future__ import annotations

from muster.network.sync.attention import SETTLE_S, TICK_S
from muster.network.sync.heartbeat import Heartbeat
from muster.network.sync.presence import Presence

B = b"b" * 32


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def heard(clock: Clock, *, ticks: bool = True) -> Presence:
    """A node that has heard of B every two seconds for a minute."""
    presence = Presence(b"a" * 32, 1, clock)
    for count in range(30):
        clock.s += 2.0
        presence.merge([Heartbeat(B[:8], 1, count, 3, 0, 255, b"", 1)])
        if ticks:
            presence.tick()
    return presence


def test_ones_own_stall_is_no_age_of_others() -> None:
    clock = Clock()
    presence = heard(clock)
    clock.s += 90.0  # suspended; the first to look may be anybody
    age_s = presence.age_s(B)
    assert age_s is not None
    assert age_s <= TICK_S
    assert presence.lively(B)
    assert presence.lively_until_s(B) > clock.s
    assert 0.0 < presence.settling_s() <= SETTLE_S
    clock.s += SETTLE_S
    presence.tick()
    assert presence.settling_s() == 0.0


def test_a_silence_of_others_is_one() -> None:
    clock = Clock()
    presence = heard(clock)
    for _ in range(45):
        clock.s += TICK_S
        presence.tick()
    age_s = presence.age_s(B)
    assert age_s is not None
    assert age_s == 90.0
    assert not presence.lively(B)
    assert presence.settling_s() == 0.0


def test_without_ticks_nothing_is_a_stall() -> None:
    clock = Clock()
    presence = heard(clock, ticks=False)
    clock.s += 90.0
    assert presence.age_s(B) == 90.0


def test_time_awake_goes_on_without_what_was_lost() -> None:
    clock = Clock()
    presence = heard(clock)
    before_s = presence.awake_s()
    clock.s += 8 * 3600.0
    assert before_s <= presence.awake_s() <= before_s + TICK_S
    clock.s += 1.0
    assert presence.awake_s() <= before_s + TICK_S + 1.0
