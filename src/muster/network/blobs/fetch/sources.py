"""Which neighbours a blob is asked of: who is chosen, who rests and for how long, who is woken.

All that have the whole of it, else one that fetches it for us.  Whoever has nothing (more) rests for a
growing while, so that nothing is polled busily.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from muster.network.blobs.chunk_messages import Status, prefix
from muster.network.blobs.limits import TransferLimits
from muster.protocol.ids import NodeId

PROBES_MAX = 2  # requests to a source before it is known to have anything


@dataclass
class BlobSource:
    """One neighbour as a source of one blob."""

    whole: bool = False
    introduced: bool = False  # it knows the blob by 8 bytes
    waiting: bool = False  # it had nothing when last asked: one request at a time
    requests: int = 0  # outstanding
    rest_s: float = 0.0  # how long it rests when it next has nothing
    rest_until_s: float = 0.0
    wrong: int = 0  # wholes with the wrong hash that it had a part in

    def takes_requests(self) -> bool:
        """False while enough is outstanding to find out whether it has something."""
        probing = self.waiting or (not self.introduced and self.requests >= PROBES_MAX)
        return not (self.requests and probing)

    def on_data(self, status: Status) -> bool:
        """Bytes of it came; whether that shows that it has the whole blob, which was not known."""
        self.introduced, self.waiting, self.rest_s = True, False, 0.0
        found = status is Status.WHOLE and not self.whole
        self.whole = self.whole or found
        return found


class Choice(NamedTuple):
    active: tuple[NodeId, ...]  # to be pulled from now
    candidates: list[NodeId]  # neighbours that could be, now or later; best first
    next_s: float  # when a rest ends: look again


class BlobSources:
    """Keeps what each neighbour is good for, as a source of one blob."""

    def __init__(self, limits: TransferLimits) -> None:
        self._limits = limits
        self._by_node: dict[NodeId, BlobSource] = {}
        self._contributors: dict[NodeId, None] = {}
        self.hints: tuple[NodeId, ...] = ()  # neighbours that the blob's record was learnt from, best first
        self.single = False  # pull from one source only, to tell who gives wrong bytes

    def of(self, node: NodeId) -> BlobSource:
        return self._by_node.setdefault(node, BlobSource())

    def add(self, node: NodeId) -> None:
        """A neighbour came: what was known of it does not count any more."""
        self._by_node[node] = BlobSource()

    def contributed(self, node: NodeId) -> None:
        """Bytes of it are in the blob."""
        self._contributors[node] = None

    def introduce_again(self) -> None:
        """On whose behalf is asked changed: the next request to each source says so."""
        for source in self._by_node.values():
            source.introduced = False

    def incomplete(self) -> list[NodeId]:
        """Those that know of the blob and did not have all of it."""
        return [node for node, source in self._by_node.items() if source.introduced and not source.whole]

    def choose(self, up: Collection[NodeId], now_s: float, *, own: bool, behind: Collection[bytes]) -> Choice:
        """Of the neighbours that are `up`. A relay (not `own`) asks nobody that waits `behind` it."""
        candidates = [node for node in dict.fromkeys((*self.hints, *up)) if node in up]
        wholes, helpers, next_s = [], [], now_s + self._limits.rest_max_s
        for node in candidates:
            source = self.of(node)
            if source.rest_until_s > now_s:
                next_s = min(next_s, source.rest_until_s)
            elif source.whole:
                wholes.append(node)
            elif own or (node in self.hints and prefix(node) not in behind):
                helpers.append(node)
        if self.single:
            wholes.sort(key=lambda node: self._by_node[node].wrong)
            helpers.sort(key=lambda node: self._by_node[node].wrong)
        count = 1 if self.single else self._limits.sources_max
        return Choice(tuple(wholes[:count] if wholes else helpers[:1]), candidates, next_s)

    def rest(self, node: NodeId, source: BlobSource, now_s: float) -> None:
        """It had nothing (more)."""
        source.waiting = True
        if source.rest_until_s > now_s:  # of several requests in vain the first counts
            return
        # Whoever passed the record on has the blob or gets it soon, and its nudge may be lost.
        limits = self._limits
        longest_s = limits.rest_hinted_s if node in self.hints else limits.rest_max_s
        source.rest_s = min(max(limits.rest_min_s, source.rest_s * 2), longest_s)
        source.rest_until_s = now_s + source.rest_s

    def rest_wrong(self, now_s: float) -> None:
        """Those that had a part in a wrong whole rest.

        Not for ever: what a relay gave may have been wrong before it came there.
        """
        for node in self._contributors:
            source = self.of(node)
            source.wrong += 1
            rest_s = min(self._limits.rest_min_s * 2.0**source.wrong, self._limits.rest_max_s)
            source.rest_until_s = now_s + rest_s
        self._contributors.clear()

    def wake(self, node: NodeId) -> None:
        """There is news of it: its rest ends."""
        source = self.of(node)
        if not source.wrong:
            source.rest_s = source.rest_until_s = 0.0
