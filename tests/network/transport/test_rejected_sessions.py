"""Sessions that are no neighbours: remembered within bounds, and the search for half links goes on."""

from __future__ import annotations

from muster.network.transport.zenoh.config import SESSIONS_MAX
from muster.network.transport.zenoh.peers import PeerSessions


def test_many_rejected_sessions_do_not_end_the_search_for_half_links() -> None:
    """Until now every session counted as rejected from the 256th on, for the rest of the process's life."""
    peers = PeerSessions(b"n" * 32, list, lambda peer, up: None, lambda sentence: None)
    for number in range(SESSIONS_MAX):
        peers._reject(str(number))
    assert not peers.rejected("somebody else")
    assert peers.rejected("0")  # it talks
    peers._reject("one more")
    assert peers.rejected("0")
    assert peers.rejected("one more")
    assert not peers.rejected("1")  # was silent for longest
    assert len(peers._rejected) == SESSIONS_MAX
