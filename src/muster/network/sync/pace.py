"""How often heartbeats go over a link, and how much of it those of other nodes may take: pure functions.

All of them together take at most `SHARE` of the link's measured rate.
"""

from __future__ import annotations

from muster.network.sync.presence import HEARTBEAT_USUAL_S
from muster.network.sync.relays import RELAY_BYTES_S, RELAY_IDLE_BYTES_S
from muster.network.transport.link_speed import NARROW_BYTES_S

SHARE = 0.02  # of the link's measured rate that heartbeats may take
PERIOD_MAX_S = 30.0
COST_BYTES = 340  # on the wire: a nudge with eight heartbeats, and its acknowledgement;
OWN_BYTES = 200  # with the sender's own only
NARROW_S = 20.0  # on a link below 64 kbit/s, where a heartbeat goes with every record besides
RELAY_MIN_BYTES_S = 1.0


def share_bytes_s(rate_bytes_s: float | None, *, narrow: bool) -> float | None:
    """Bytes a second that all heartbeats may take on a link; None while its rate is not known."""
    if narrow:
        rate_bytes_s = min(rate_bytes_s or NARROW_BYTES_S, NARROW_BYTES_S)
    return None if rate_bytes_s is None else SHARE * rate_bytes_s


def period_s(rate_bytes_s: float | None, *, narrow: bool) -> float:
    """Seconds between two heartbeats to a neighbour while a job runs."""
    least_s, share = NARROW_S if narrow else HEARTBEAT_USUAL_S, share_bytes_s(rate_bytes_s, narrow=narrow)
    return least_s if share is None else min(PERIOD_MAX_S, max(least_s, COST_BYTES / share))


def relay_bytes_s(rate_bytes_s: float | None, own_period_s: float, *, narrow: bool, busy: bool) -> float:
    """Bytes a second that others' heartbeats may take: what the sender's own, `own_period_s` apart, leave."""
    most_bytes_s = RELAY_BYTES_S if busy else RELAY_IDLE_BYTES_S
    share = share_bytes_s(rate_bytes_s, narrow=narrow)
    if share is None:
        return most_bytes_s
    return min(most_bytes_s, max(RELAY_MIN_BYTES_S, share - OWN_BYTES / own_period_s))
