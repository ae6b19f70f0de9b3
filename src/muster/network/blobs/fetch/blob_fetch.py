"""One blob that is being fetched: what is missing, what was asked of whom, and who wants it."""

from __future__ import annotations

from dataclasses import dataclass

from muster.network.blobs.chunk_messages import (
    HOPS_MAX,
    Ask,
    ChunkAnswer,
    Status,
    encode_ask,
    encode_short_ask,
    prefix,
)
from muster.network.blobs.fetch.missing_ranges import MissingRanges
from muster.network.blobs.fetch.sources import BlobSource, BlobSources
from muster.network.blobs.limits import TransferLimits
from muster.network.blobs.meter import GRID_BYTES, Mark
from muster.network.blobs.window import PeerWindow
from muster.protocol.ids import BlobId, NodeId
from muster.storage.store import PartialBlob


@dataclass(frozen=True)
class TransferStatus:
    blob: BlobId
    size_bytes: int
    held_bytes: int
    last_progress_s: float | None  # loop time; None = nothing came since this transfer began
    sources: tuple[NodeId, ...]  # being pulled from now
    own: bool  # wanted here; else fetched for a neighbour only
    wrong: int  # times that the whole had the wrong hash


@dataclass(eq=False)
class ChunkRequest:
    """A range that a neighbour was asked for."""

    node: NodeId
    offset: int
    length: int
    asked_s: float
    source: BlobSource
    window: PeerWindow
    mark: Mark | None = None  # set when it goes out
    repeated: bool = False  # another source was asked for it, too
    parked: bool = False  # does not count against the neighbour's window (any more)

    def park(self) -> None:
        """Others may go meanwhile: it takes no room in the neighbour's window any more."""
        if not self.parked:
            self.parked = True
            self.window.release(self.length)

    def on_answer(self, answer: ChunkAnswer | None, now_s: float) -> None:
        """It is over: account for it with the neighbour's window."""
        self.park()
        self.source.requests -= 1
        if self.mark is None:  # it never went out
            return
        if answer is None:
            self.window.on_no_answer(self.asked_s, now_s)
        else:
            self.window.on_answer(self.mark, now_s, len(answer.data), answer.held_s)


class BlobFetch:
    """The state of one transfer, whoever wants the blob. Times are those of the caller's clock."""

    def __init__(
        self,
        blob: BlobId,
        size_bytes: int,
        rank: int,
        number: int,
        partial: PartialBlob,
        limits: TransferLimits,
        behind: frozenset[bytes] = frozenset(),
    ) -> None:
        self.blob, self.size_bytes = blob, size_bytes
        self.rank, self.number = rank, number
        self._limits = limits
        self.fetchers = 0  # tasks of this node that wait for it; none: it is fetched for neighbours only
        self.behind = behind  # nodes that wait for us to get it (8 bytes each): not asked by a relay
        self.sources = BlobSources(limits)
        self.active: tuple[NodeId, ...] = ()  # pulled from now
        self.requests: dict[ChunkRequest, None] = {}
        self.asked_s: float | None = None  # by a neighbour, last
        self.surveyed_s = 0.0  # when neighbours were last asked whether they have it
        self.last_progress_s: float | None = None
        self.wrong = 0
        self.checking = False  # all of it is here, and being hashed
        self.restart(partial)

    @property
    def own(self) -> bool:
        return self.fetchers > 0

    @property
    def order(self) -> tuple[int, int, int]:
        """Lower ones are asked for first."""
        return (0 if self.own else 1, self.rank, self.number)

    def status(self) -> TransferStatus:
        return TransferStatus(
            self.blob,
            self.size_bytes,
            self.held_bytes,
            self.last_progress_s,
            self.active,
            self.own,
            self.wrong,
        )

    # the bytes

    def restart(self, partial: PartialBlob) -> None:
        """Go by what `partial` holds: ask for what is missing and was not asked for yet."""
        self.partial, self.checking = partial, False
        self.missing = MissingRanges(partial.missing())
        self._count_held()
        for request in self.requests:
            self.missing.drop(request.offset, request.length)

    def _count_held(self) -> None:
        self.held_bytes = self.size_bytes - sum(length for _, length in self.partial.missing())

    def held_from(self, offset: int, length: int) -> int:
        """How many of `length` bytes from `offset` on are held without a gap, up to a cell's end."""
        end = offset
        while end < offset + length:
            step = min(GRID_BYTES - end % GRID_BYTES, offset + length - end)
            if not self.partial.has(end, step):
                break
            end += step
        return end - offset

    def keep(self, offset: int, data: bytes, node: NodeId, now_s: float) -> None:
        """Write what a neighbour sent. Raises StorageError."""
        self.partial.write(offset, data)
        self.sources.contributed(node)
        self._count_held()  # not added up: of a range asked for twice a part may have come before
        self.last_progress_s = now_s

    # requests

    def next_request(self, node: NodeId, window: PeerWindow, now_s: float) -> ChunkRequest | None:
        """What to ask a neighbour for next, as far as its window allows; None when nothing."""
        source = self.sources.of(node)
        if self.checking or not source.takes_requests():
            return None
        if self.missing:
            offset, length = self.missing.take(window.next_chunk_bytes())
        else:
            late = self._late_request(node, now_s)
            if late is None:
                return None
            late.repeated = True
            offset, length = late.offset, late.length
        request = ChunkRequest(node, offset, length, now_s, source, window)
        window.add(length)
        source.requests += 1
        self.requests[request] = None
        return request

    def _late_request(self, node: NodeId, now_s: float) -> ChunkRequest | None:
        """One that another source has not answered for long, when nothing else is left to ask for."""
        before_s = now_s - self._limits.again_s
        for request in self.requests:
            if request.node != node and not request.repeated and request.asked_s <= before_s:
                return request
        return None

    def take_back(self, request: ChunkRequest, now_s: float) -> None:
        """A request ended by a fault: what it asked for is missing still, unless it came."""
        if request in self.requests:
            del self.requests[request]
            request.on_answer(None, now_s)
        self.restart(self.partial)

    def message(self, request: ChunkRequest, own_node: NodeId) -> bytes:
        """The request as it goes over the link: in full as long as the source does not know the blob."""
        if request.source.introduced:
            return encode_short_ask(self.blob, request.offset, request.length)
        path = (prefix(own_node), *(() if self.own else sorted(self.behind)))
        relay = len(path) <= HOPS_MAX  # who may not ask any further is still asked for what it has
        return encode_ask(
            Ask(self.blob, request.offset, request.length, self.size_bytes, relay, path[:HOPS_MAX])
        )

    def timeout_s(self, request: ChunkRequest) -> float:
        return request.window.timeout_s() + (0.0 if request.source.whole else self._limits.hold_s)

    def usable_bytes(self, request: ChunkRequest, answer: ChunkAnswer) -> int:
        """How many of the bytes that came count: whole cells only, except at the end of the blob."""
        size_bytes = min(len(answer.data), request.length)
        if request.offset + size_bytes < self.size_bytes:
            size_bytes -= (request.offset + size_bytes) % GRID_BYTES
        return max(0, size_bytes)

    def on_answer(
        self, request: ChunkRequest, answer: ChunkAnswer | None, kept_bytes: int, now_s: float
    ) -> None:
        """What did not come of a range is asked for again; who had nothing rests."""
        source = request.source
        rest = (request.offset + kept_bytes, request.length - kept_bytes)
        if not self.partial.has(*rest):
            self.missing.put_back(*rest)
        if answer is not None and answer.status is Status.UNKNOWN and source.introduced:
            source.introduced = False
        elif not kept_bytes:
            if answer is not None:
                source.introduced = answer.status is not Status.NO
                source.whole = source.whole and source.introduced
            self.sources.rest(request.node, source, now_s)
