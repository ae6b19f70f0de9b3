"""Which neighbours a blob is asked of: who is chosen, who rests and for how long, who is woken.

All that have the whole of it, else one that gets it for us.  Whoever has nothing (more) rests for a growing
while, so that nothing is polled busily.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from muster.network.blobs.chunk_messages import prefix
from muster.network.blobs.state import Source, Transfer, TransferLimits
from muster.protocol.records import NodeId


class Choice(NamedTuple):
    active: tuple[NodeId, ...]  # to be pulled from now
    candidates: list[NodeId]  # neighbours that could be, now or later; best first
    next_s: float  # when a rest ends: look again


def choose(transfer: Transfer, up: Collection[NodeId], now_s: float, limits: TransferLimits) -> Choice:
    """Of the neighbours that are `up`."""
    own = transfer.fetchers > 0
    candidates = [node for node in dict.fromkeys((*transfer.hints, *up)) if node in up]
    wholes, helpers, next_s = [], [], now_s + limits.rest_max_s
    for node in candidates:
        source = transfer.sources.setdefault(node, Source())
        if source.rest_until_s > now_s:
            next_s = min(next_s, source.rest_until_s)
        elif source.whole:
            wholes.append(node)
        elif own or (node in transfer.hints and prefix(node) not in transfer.path):
            helpers.append(node)
    if transfer.single:
        wholes.sort(key=lambda node: transfer.sources[node].wrong)
        helpers.sort(key=lambda node: transfer.sources[node].wrong)
    count = 1 if transfer.single else limits.sources_max
    return Choice(tuple(wholes[:count] if wholes else helpers[:1]), candidates, next_s)


def rest(transfer: Transfer, node: NodeId, source: Source, now_s: float, limits: TransferLimits) -> None:
    """It had nothing (more)."""
    source.waiting = True
    if source.rest_until_s > now_s:  # of several questions in vain the first counts
        return
    # Whoever passed the record on has the blob or gets it soon, and its nudge may be lost.
    longest_s = limits.rest_hinted_s if node in transfer.hints else limits.rest_max_s
    source.rest_s = min(max(limits.rest_min_s, source.rest_s * 2), longest_s)
    source.rest_until_s = now_s + source.rest_s


def rest_wrong(transfer: Transfer, now_s: float, limits: TransferLimits) -> None:
    """Those that had a part in a wrong whole rest.

    Not for ever: what a relay gave may have been wrong before it came there.
    """
    for node in transfer.contributors:
        source = transfer.sources.setdefault(node, Source())
        source.wrong += 1
        rest_s = min(limits.rest_min_s * 2.0**source.wrong, limits.rest_max_s)
        source.rest_until_s = now_s + rest_s
    transfer.contributors.clear()


def wake(transfer: Transfer, node: NodeId) -> None:
    """There is news of it: its rest ends."""
    source = transfer.sources.setdefault(node, Source())
    if not source.wrong:
        source.rest_s = source.rest_until_s = 0.0
