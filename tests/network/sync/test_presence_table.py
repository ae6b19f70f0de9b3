"""The table of heartbeats is bounded, and does not close itself to newcomers."""

from __future__ import annotations

from msgspec.structs import replace

from muster.network.sync.heartbeat import STATES, Heartbeat
from muster.network.sync.presence import HEARTBEATS_MAX, UNKNOWN_MAX, Presence


def heartbeat(number: int, count: int = 1) -> Heartbeat:
    return Heartbeat(number.to_bytes(8, "big"), 1, count, 0, 0, 255, b"", 0)


def test_a_full_table_forgets_who_was_heard_longest_ago() -> None:
    """Until now whoever came after the 512th id was never heard."""
    now = [0.0]
    presence = Presence(b"\xff" * 32, 1, lambda: now[0])
    for number in range(HEARTBEATS_MAX):
        now[0] += 1
        presence.merge([heartbeat(number)])
    now[0] += 1
    presence.merge([heartbeat(0, 2)])
    assert presence.merge([heartbeat(9999)])
    assert len(presence.table) == HEARTBEATS_MAX
    assert (9999).to_bytes(8, "big") in presence.table
    assert (0).to_bytes(8, "big") in presence.table
    assert (1).to_bytes(8, "big") not in presence.table


def test_a_flood_of_made_up_nodes_costs_no_member_its_place() -> None:
    presence = Presence(
        b"\xff" * 32, 1, lambda: 0.0, members={number.to_bytes(8, "big") for number in range(5)}
    )
    presence.merge([heartbeat(number) for number in range(5)])
    for number in range(1000, 1000 + 10 * UNKNOWN_MAX):
        presence.merge([heartbeat(number)], b"h" * 32)
    assert len(presence.table) == 5 + UNKNOWN_MAX
    assert [h.node[-1] for h in presence.heartbeats()] == [0, 1, 2, 3, 4]
    assert presence.others() == 5
    newcomer = (1000 + 10 * UNKNOWN_MAX - 1).to_bytes(8, "big")
    presence.admit(newcomer)
    assert presence.others() == 6
    presence.expel(newcomer)
    assert presence.others() == 5


def test_patience_with_a_node_that_others_tell_of_grows_with_the_fleet() -> None:
    now = [0.0]
    presence = Presence(b"\xff" * 32, 1, lambda: now[0])
    far, near, leader = (n.to_bytes(8, "big") for n in range(3))
    presence.relay_s = 13.5  # 300 nodes
    for count in (1, 2, 3):
        now[0] += 12.0 if count > 1 else 0.0
        presence.merge([heartbeat(0, count)], b"n" * 32)
    presence.merge([heartbeat(1, 1)], near + bytes(24))
    presence.merge([replace(heartbeat(2, 1), state=STATES.index("coordinating"))], b"n" * 32)
    assert presence.spells(far + bytes(24)).away_s == ()
    now[0] += 9.0
    assert [presence.lively(node + bytes(24)) for node in (far, near, leader)] == [True, False, False]
    now[0] += 30.0
    assert presence.lively(far + bytes(24))
    now[0] += 5.0
    assert not presence.lively(far + bytes(24))


def test_two_nodes_of_one_short_name_are_told_of_in_full_only() -> None:
    presence = Presence(b"\xff" * 32, 1, lambda: 0.0)
    one, other = (Heartbeat(b"same" + tail, 1, 1, 0, 0, 255, b"", 0) for tail in (b"-one", b"-two"))
    presence.merge([one, other])
    assert presence.merge_briefs([replace(one, count=2).brief()], b"n" * 32) == []
