"""The table of heartbeats is bounded, and does not close itself to newcomers."""

from __future__ import annotations

from muster.network.sync.presence import HEARTBEATS_MAX, Heartbeat, Presence


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
