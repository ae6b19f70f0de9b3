"""Fetching blobs, as a state machine: events and the time go in, effects come out.

Nothing here sends, waits or reads a clock.  What came is written to the store at once, because what is asked
for next depends on it; everything else that is to happen is returned as effects.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

from muster.network.blobs.chunk_messages import Ask, ChunkAnswer, KnownBlobs, Status, prefix
from muster.network.blobs.effects import (
    BytesCame,
    CheckBlob,
    Effect,
    FetchEnded,
    LookAgain,
    Moment,
    SendRequest,
    SendSurvey,
)
from muster.network.blobs.fetch.blob_fetch import BlobFetch, ChunkRequest
from muster.network.blobs.fetch.table import FetchTable
from muster.network.blobs.limits import TransferLimits
from muster.network.blobs.meter import GoodputMeter
from muster.network.blobs.window import PeerWindows
from muster.protocol.ids import BlobId, NodeId
from muster.storage.store import StorageError, Store

SMALL_BYTES = 32 * 1024  # up to here, pulling from several at once does not pay for asking who could
Hints: TypeAlias = Callable[[BlobId], Sequence[NodeId]]
Ours: TypeAlias = Callable[[BlobId], bool]


class Fetching:
    """Decides what is asked of which neighbour, for all blobs that one node fetches."""

    def __init__(
        self, node: NodeId, store: Store, hints: Hints, limits: TransferLimits, known: KnownBlobs, ours: Ours
    ) -> None:
        """`hints(blob)`: neighbours that the blob's record was learnt from, best first. `ours(blob)`: whether
        this node's own work waits for the blob to reach whoever asks for it."""
        self._node, self._store, self._known = node, store, known
        self._hints, self._limits, self._ours = hints, limits, ours
        self.table = FetchTable()
        self._windows = PeerWindows(limits.neighbours_max)
        self._numbers, self._closed = itertools.count(), False
        self.wrong_blobs = 0  # whole blobs with the wrong hash so far

    def meter(self, node: NodeId) -> GoodputMeter | None:
        """What was measured of a neighbour; None before the first request to it."""
        window = self._windows.find(node)
        return None if window is None else window.meter

    def close(self) -> None:
        """Decide nothing any more."""
        self._closed = True

    # what this node wants

    def begin(
        self, blob: BlobId, size_bytes: int, rank: int, moment: Moment, behind: frozenset[bytes] = frozenset()
    ) -> tuple[BlobFetch, list[Effect]]:
        """A new transfer, which nobody has joined yet; `behind`: who waits for it (8 bytes each).

        Raises StorageError.
        """
        effects: list[Effect] = []
        partial = self._store.partial(blob, size_bytes)
        number = next(self._numbers)
        fetch = BlobFetch(blob, size_bytes, rank, number, partial, self._limits, behind)
        fetch.sources.hints = tuple(self._hints(blob))
        self.table.add(fetch)
        if not fetch.missing:
            self._check(fetch, effects)
        else:
            first = next((node for node in fetch.sources.hints if node in moment.up), None)
            if first is None or size_bytes > SMALL_BYTES:  # the first is asked for chunks right away
                self._survey(fetch, [node for node in moment.up if node != first], moment, effects)
        return fetch, effects

    def join(self, fetch: BlobFetch, rank: int, moment: Moment) -> list[Effect]:
        """One more task of this node waits for the blob."""
        if not fetch.own:  # a relay until now: from now on it asks everybody, in its own name
            fetch.rank = rank
            fetch.sources.introduce_again()
        fetch.fetchers += 1
        fetch.rank = min(fetch.rank, rank)
        return self._choose(fetch, moment, [])

    def leave(self, fetch: BlobFetch) -> list[Effect]:
        """A task does not wait for the blob any more."""
        fetch.fetchers -= 1
        if fetch.own or not self.table.goes_on(fetch):
            return []
        fetch.sources.introduce_again()
        return self._end(fetch, []) if fetch.asked_s is None else []

    def drop(self, fetch: BlobFetch) -> list[Effect]:
        return self._end(fetch, [])

    def on_news(self, moment: Moment) -> list[Effect]:
        """New records arrived, or blobs were stored by other means: look whether that helps."""
        effects: list[Effect] = []
        for fetch in self.table:
            if self._store.has_blob(fetch.blob):
                self._end(fetch, effects)
                continue
            hints = tuple(self._hints(fetch.blob))
            if hints != fetch.sources.hints:
                for node in set(hints) - set(fetch.sources.hints):
                    fetch.sources.wake(node)
                fetch.sources.hints = hints
                self._choose(fetch, moment, effects)
        return effects

    # what neighbours do

    def on_neighbour(self, node: NodeId, up: bool, moment: Moment) -> list[Effect]:
        """A neighbour came or went."""
        effects: list[Effect] = []
        for fetch in self.table.all():
            if up:
                fetch.sources.add(node)
                self._survey(fetch, [node], moment, effects)
            self._choose(fetch, moment, effects)
        return effects

    def on_nudge(self, node: NodeId, name: bytes, moment: Moment) -> list[Effect]:
        """The neighbour has data of a blob (`name`: its first 8 bytes) that it did not have when asked."""
        effects: list[Effect] = []
        known = self._known.find(name)
        fetch = self.table.find(known[0]) if known else None
        if fetch is not None:
            fetch.sources.wake(node)
            self._survey(fetch, [node], moment, effects)
            self._choose(fetch, moment, effects)
        return effects

    def on_wanted(
        self, blob: BlobId, size_bytes: int, ask: Ask, moment: Moment
    ) -> tuple[BlobFetch | None, list[Effect]]:
        """A neighbour asks for a range of a blob that is not held: its transfer, begun for it if need be.

        None when this node will not fetch it, or knows another size.  Raises StorageError.
        """
        effects: list[Effect] = []
        fetch = self.table.find(blob)
        if fetch is None and self._may_relay(ask, blob, size_bytes, moment):
            fetch, effects = self.begin(blob, size_bytes, 0, moment, frozenset(ask.path))
        if fetch is None or fetch.size_bytes != size_bytes or ask.offset >= size_bytes:
            return None, effects
        fetch.asked_s = moment.now_s
        if not fetch.behind.issuperset(ask.path):
            # Whoever is behind an asker is not asked to get it for us, and those that we ask learn of it:
            # requests that wait for each other in a ring would keep each other alive.
            fetch.behind |= frozenset(ask.path)
            if not fetch.own:
                fetch.sources.introduce_again()
        fetch.missing.prioritise(ask.offset)
        return fetch, self._choose(fetch, moment, effects)

    def on_survey_answer(
        self, fetch: BlobFetch, node: NodeId, status: Status, asked_s: float, moment: Moment
    ) -> list[Effect]:
        self._windows.of(node).meter.pinged(moment.now_s - asked_s)
        source = fetch.sources.of(node)
        source.introduced = True
        if status is not Status.WHOLE:
            return []
        source.whole = True
        return self._choose(fetch, moment, [])

    def on_sent(self, fetch: BlobFetch, request: ChunkRequest, now_s: float) -> tuple[bytes, float]:
        """A request goes out now: its bytes, and how long to wait for the answer."""
        message = fetch.message(request, self._node)
        self._known.remember(fetch.blob, fetch.size_bytes)
        request.mark = request.window.on_sent(now_s)
        return message, fetch.timeout_s(request)

    def on_answer(
        self, fetch: BlobFetch, request: ChunkRequest, answer: ChunkAnswer | None, moment: Moment
    ) -> list[Effect]:
        """A request that went out was answered, or not (None)."""
        effects: list[Effect] = []
        fetch.requests.pop(request, None)
        request.on_answer(answer, moment.now_s)
        try:
            self._take_answer(fetch, request, answer, moment, effects)
        except StorageError as error:
            # unless it came by other means meanwhile
            self._end(fetch, effects, None if self._store.has_blob(fetch.blob) else error)
        return self._ask_for_more(request.node, moment, effects)

    def on_checked(self, fetch: BlobFetch, right: bool | StorageError, moment: Moment) -> list[Effect]:
        """The bytes of the whole blob were hashed, or that failed."""
        effects: list[Effect] = []
        if not self.table.goes_on(fetch) or self._closed:
            return effects
        try:
            if isinstance(right, StorageError):
                raise right
            self._finish(fetch, right, moment, effects)
        except StorageError as error:
            # unless it came by other means meanwhile
            self._end(fetch, effects, None if self._store.has_blob(fetch.blob) else error)
        return effects

    # time

    def on_time(self, fetch: BlobFetch, moment: Moment) -> list[Effect]:
        """The time that `LookAgain` set has come."""
        return self._choose(fetch, moment, [])

    def on_overdue(self, request: ChunkRequest, moment: Moment) -> list[Effect]:
        """The neighbour holds this request open until it has the data: others may go meanwhile."""
        if request.parked or self._closed:
            return []
        request.park()
        return self._ask_for_more(request.node, moment, [])

    # decisions

    def _may_relay(self, ask: Ask, blob: BlobId, size_bytes: int, moment: Moment) -> bool:
        """Whether a blob is fetched for others: not beyond the limits, nor if nobody else can be asked."""
        if self._closed or not ask.relay or all(prefix(node) in ask.path for node in moment.up):
            return False
        limits = self._limits
        return limits.relay() and self.table.may_relay(
            size_bytes, limits, self._store, lambda: self._ours(blob)
        )

    def _choose(self, fetch: BlobFetch, moment: Moment, effects: list[Effect]) -> list[Effect]:
        """Pick the sources to pull from now, set the time for the next look, and ask."""
        if not self.table.goes_on(fetch) or self._closed:
            return effects
        now_s, limits = moment.now_s, self._limits
        if not fetch.own and fetch.asked_s is not None:
            heard_s = max(fetch.asked_s, fetch.last_progress_s or 0.0)
            if now_s > heard_s + limits.relay_idle_s or not limits.relay():
                return self._end(fetch, effects)
        choice = fetch.sources.choose(moment.up, now_s, own=fetch.own, behind=fetch.behind)
        fetch.active, next_s = choice.active, choice.next_s
        if not fetch.own and not fetch.active:  # the survey, or an answer to it, may have been lost
            if now_s >= fetch.surveyed_s + limits.survey_again_s:
                others = [node for node in choice.candidates if prefix(node) not in fetch.behind]
                self._survey(fetch, others, moment, effects)
            next_s = min(next_s, fetch.surveyed_s + limits.survey_again_s)
        if not fetch.missing and fetch.requests:
            next_s = min(next_s, now_s + limits.again_s)
        effects.append(LookAgain(fetch, next_s))
        for node in fetch.active:
            self._ask_for_more(node, moment, effects)
        return effects

    def _survey(
        self, fetch: BlobFetch, nodes: Sequence[NodeId], moment: Moment, effects: list[Effect]
    ) -> None:
        """Ask neighbours whether they have all of it, so that it can be pulled from several at once."""
        fetch.surveyed_s = moment.now_s
        effects += [SendSurvey(fetch, node) for node in nodes[: self._limits.neighbours_max]]

    def _ask_for_more(self, node: NodeId, moment: Moment, effects: list[Effect]) -> list[Effect]:
        """Ask this neighbour for more, as far as its window allows, lowest rank first."""
        window = self._windows.of(node)
        pulling = (f for f in self.table if node in f.active and (f.own or self._limits.relay()))
        for fetch in sorted(pulling, key=lambda fetch: fetch.order):
            while window.next_chunk_bytes():
                request = fetch.next_request(node, window, moment.now_s)
                if request is None:
                    break
                overdue_s = None if request.source.whole else window.usual_s()
                effects.append(SendRequest(fetch, request, overdue_s))
        return effects

    # what came

    def _take_answer(
        self, fetch: BlobFetch, request: ChunkRequest, answer: ChunkAnswer | None, moment: Moment,
        effects: list[Effect],
    ) -> None:  # fmt: skip
        kept = 0
        if answer is not None and self.table.goes_on(fetch) and (kept := fetch.usable_bytes(request, answer)):
            if request.source.on_data(answer.status):
                self._choose(fetch, moment, effects)
            if not fetch.partial.has(request.offset, kept):  # else it was asked for twice
                fetch.keep(request.offset, answer.data[:kept], request.node, moment.now_s)
                effects.append(BytesCame(fetch))
        if not self.table.goes_on(fetch):
            return
        fetch.on_answer(request, answer, kept, moment.now_s)
        if fetch.held_bytes == fetch.size_bytes:
            self._check(fetch, effects)
        elif not kept or not fetch.missing:
            self._choose(fetch, moment, effects)

    def _check(self, fetch: BlobFetch, effects: list[Effect]) -> None:
        """All bytes are here: are they the right ones?"""
        if not fetch.checking:
            fetch.checking = True
            effects.append(CheckBlob(fetch))

    def _finish(self, fetch: BlobFetch, right: bool, moment: Moment, effects: list[Effect]) -> None:
        if self._store.has_blob(fetch.blob) or fetch.partial.finish(right):  # or it came by other means
            self._end(fetch, effects)
            return
        self.wrong_blobs += 1
        fetch.wrong += 1
        fetch.sources.single = True
        fetch.restart(self._store.partial(fetch.blob, fetch.size_bytes))
        fetch.sources.rest_wrong(moment.now_s)
        self._choose(fetch, moment, effects)

    def _end(
        self, fetch: BlobFetch, effects: list[Effect], error: StorageError | None = None
    ) -> list[Effect]:
        """It is held, given up or failed."""
        self.table.remove(fetch)
        fetch.active = ()
        held = error is None and self._store.has_blob(fetch.blob)
        nudge = tuple(fetch.sources.incomplete()) if held else ()
        effects.append(FetchEnded(fetch, held, error if fetch.own else None, nudge))
        return effects
