"""What a neighbour is told of other nodes: nothing twice, and in a large fleet no more than its budget."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest

from muster.network.sync.heartbeat import BRIEF_BYTES, STATES, BriefHeartbeat, Heartbeat, pack_heartbeats
from muster.network.sync.pace import OWN_BYTES, SHARE, period_s, relay_bytes_s
from muster.network.sync.presence import HEARTBEAT_USUAL_S, Presence
from muster.network.sync.relays import (
    BUDGET_S,
    HEARD_ITSELF_MOST,
    RELAY_BYTES_S,
    RELAY_NARROW_S,
    SMALL_FLEET,
    Relays,
    relay_s,
)

NEIGHBOUR = b"n" * 32
TRAINING, COORDINATING = STATES.index("training"), STATES.index("coordinating")


def node(number: int) -> bytes:
    return number.to_bytes(4, "big") + b"node"


@dataclass
class Teller:
    """A node that knows others and has one neighbour."""

    others: int
    narrow: bool = False
    rate_bytes_s: float = RELAY_BYTES_S
    now_s: float = 100.0
    count: int = 0
    relays: Relays = field(default_factory=lambda: Relays(NEIGHBOUR))
    seen: dict[bytes, float] = field(default_factory=dict)  # when the neighbour was told of a node

    def __post_init__(self) -> None:
        self.presence = Presence(b"m" * 32, 1, lambda: self.now_s)
        self.relays.begin(self.now_s)

    def hear(self, *, state: int = 0, job: bytes = b"jobs", of: list[int] | None = None) -> None:
        """A later heartbeat of each other node comes."""
        self.count += 1
        for number in range(self.others) if of is None else of:
            self.presence.merge([Heartbeat(node(number), 1, self.count, state, 0, 255, job, 1)])

    def take(self) -> list[Heartbeat | BriefHeartbeat]:
        found = self.relays.take(
            self.presence, self.now_s, narrow=self.narrow, rate_bytes_s=lambda: self.rate_bytes_s
        )
        self.seen |= {h.node[:4]: self.now_s for h in found}
        return found

    def run(self, seconds: float) -> int:
        """Bytes that the neighbour is told in this time, while all others go on."""
        sent = 0
        for _ in range(int(seconds / HEARTBEAT_USUAL_S)):
            self.now_s += HEARTBEAT_USUAL_S
            self.hear()
            sent += len(pack_heartbeats(self.take(), b"m" * 8))
        return sent


def test_in_a_small_fleet_all_that_is_new_is_passed_on_at_once() -> None:
    teller = Teller(SMALL_FLEET)
    for _ in range(3):
        teller.hear()
        assert len(teller.take()) == SMALL_FLEET
        assert teller.take() == []


def test_nobody_is_told_what_he_said_or_of_himself() -> None:
    teller = Teller(3)
    teller.hear()
    mine = Heartbeat(NEIGHBOUR[:8], 1, 1, 0, 0, 255, b"", 0)
    said = teller.presence.table[node(0)].heartbeat
    teller.presence.merge([mine])
    teller.relays.on_said([mine, said], teller.now_s)
    assert {h.node for h in teller.take()} == {node(1), node(2)}
    teller.relays.on_said([msgspec.structs.replace(said, count=9)], teller.now_s)
    teller.hear(of=[0])  # older than what the neighbour said
    assert teller.take() == []


def test_a_neighbour_hears_of_its_newer_life() -> None:
    teller = Teller(1)
    newer = Heartbeat(NEIGHBOUR[:8], 2, 1, 0, 0, 255, b"", 0)
    teller.relays.on_outdated([newer])
    assert teller.take() == [newer]
    assert teller.take() == []


def test_on_a_narrow_link_others_are_relayed_once_in_a_while() -> None:
    teller = Teller(2, narrow=True)
    teller.hear()
    assert len(teller.take()) == 2
    teller.hear()
    teller.now_s += RELAY_NARROW_S - 1
    assert teller.take() == []
    teller.now_s += 1
    assert len(teller.take()) == 2


@pytest.mark.parametrize("others", [60, 300, 1000])
def test_a_large_fleet_costs_a_link_no_more_than_its_budget(others: int) -> None:
    teller = Teller(others)
    teller.hear()
    first = teller.run(BUDGET_S)
    assert first <= 2 * BUDGET_S * RELAY_BYTES_S + 40
    minutes = 10
    sent = teller.run(60.0 * minutes)
    assert sent <= 60.0 * minutes * RELAY_BYTES_S + 40
    oldest_s = max(teller.now_s - at_s for at_s in teller.seen.values())
    assert len(teller.seen) == others
    # stated staleness: a round of everybody, told in full now and then, takes no longer than this
    assert oldest_s <= 1.5 * relay_s(others, RELAY_BYTES_S) + 2 * HEARTBEAT_USUAL_S


def test_who_coordinates_and_who_changed_go_first() -> None:
    teller = Teller(1000)
    teller.hear()
    teller.run(300.0)
    for _ in range(10):  # in every relay, however many others there are
        teller.now_s += HEARTBEAT_USUAL_S
        teller.hear()
        teller.hear(of=[5], state=COORDINATING)
        assert node(5)[:4] in {h.node[:4] for h in teller.take()}
    teller.hear()
    teller.now_s += HEARTBEAT_USUAL_S
    teller.hear(of=[77], job=b"else")
    told = {h.node[:4]: h for h in teller.take()}
    assert isinstance(told[node(77)[:4]], Heartbeat)  # in full


def test_a_change_of_state_is_told_briefly_and_another_start_in_full() -> None:
    teller = Teller(SMALL_FLEET + 1)
    teller.hear()
    teller.take()
    teller.now_s += HEARTBEAT_USUAL_S
    teller.hear(state=TRAINING)
    found = teller.take()
    assert {type(h) for h in found} == {BriefHeartbeat}
    other = Presence(b"o" * 32, 1, lambda: teller.now_s)
    assert other.merge_briefs([h for h in found if isinstance(h, BriefHeartbeat)], NEIGHBOUR) == []
    other.merge([Heartbeat(node(0), 1, 1, 0, 0, 255, b"jobs", 1)])
    other.merge_briefs([h for h in found if isinstance(h, BriefHeartbeat)], NEIGHBOUR)
    assert other.table[node(0)].heartbeat == teller.presence.table[node(0)].heartbeat
    teller.presence.merge([Heartbeat(node(3), 2, 1, 0, 0, 255, b"jobs", 1)])
    teller.now_s += HEARTBEAT_USUAL_S
    assert Heartbeat(node(3), 2, 1, 0, 0, 255, b"jobs", 1) in teller.take()


def test_whom_the_neighbour_hears_itself_it_is_told_of_a_few_at_a_time_until_it_does_not() -> None:
    teller = Teller(60)
    teller.relays.on_hears(frozenset(node(n)[:4] for n in range(60)), teller.now_s)
    teller.hear()
    assert len(teller.take()) == HEARD_ITSELF_MOST
    assert not teller.relays.on_rare(teller.presence.table[node(7)].heartbeat, direct=True)
    teller.run(60.0)
    teller.hear()
    assert teller.take() == []  # not due yet
    teller.relays.on_hears(frozenset(node(n)[:4] for n in range(60) if n != 7), teller.now_s)
    assert node(7)[:4] in {h.node[:4] for h in teller.take()}


def test_strangers_are_told_of_to_nobody() -> None:
    teller = Teller(3)
    teller.presence.members = {node(0), node(2)}
    teller.hear()
    assert {h.node for h in teller.take()} == {node(0), node(2)}
    teller.presence.admit(node(1))
    assert {h.node for h in teller.take()} == {node(1)}


@pytest.mark.parametrize("rate_bytes_s", [300.0, 1_200.0, 8_000.0, 20_000.0, 1e6])
def test_all_heartbeats_take_at_most_two_percent_of_a_link(rate_bytes_s: float) -> None:
    narrow = rate_bytes_s < 8000
    own_s = period_s(rate_bytes_s, narrow=narrow)
    others_bytes_s = relay_bytes_s(rate_bytes_s, own_s, narrow=narrow, busy=True)
    slack = 1.2 if rate_bytes_s < 500 else 1.0  # heartbeats are 30 s apart at most
    assert OWN_BYTES / own_s + others_bytes_s <= slack * SHARE * rate_bytes_s + 1.0
    assert others_bytes_s >= 0.008 * rate_bytes_s or others_bytes_s in (1.0, RELAY_BYTES_S)
    assert BRIEF_BYTES <= 9


def test_a_neighbour_in_whose_name_somebody_else_speaks_hears_it_at_once() -> None:
    teller = Teller(3)
    own = Heartbeat(NEIGHBOUR[:8], 4, 1, 0, 0, 255, b"", 0)
    assert not teller.relays.on_rare(own, direct=True)
    assert own not in teller.take()
    assert teller.relays.on_rare(own, direct=False)
    assert own in teller.take()
