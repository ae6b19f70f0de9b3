"""A bench for the state machine of fetching: events in, effects out, no loop."""

from __future__ import annotations

import random

from bulk_world import ident

from muster.network.blobs.chunk_messages import ChunkAnswer, KnownBlobs, Status
from muster.network.blobs.effects import (
    CheckBlob,
    Effect,
    FetchEnded,
    LookAgain,
    Moment,
    SendRequest,
    SendSurvey,
)
from muster.network.blobs.fetch.blob_fetch import BlobFetch, ChunkRequest
from muster.network.blobs.fetch.fetching import Fetching
from muster.network.blobs.limits import TransferLimits
from muster.protocol.ids import BlobId, NodeId
from muster.storage.memory import MemoryStore

A, B, C, HERE = (ident(name) for name in "abch")
LIMITS = TransferLimits()


class Bench:
    """One node's fetching; `hints` and `store` are what it goes by."""

    def __init__(self, limits: TransferLimits = LIMITS) -> None:
        self.store = MemoryStore(random.Random(1))
        self.hints: dict[BlobId, list[NodeId]] = {}
        self.known = KnownBlobs(10)
        self.fetching = Fetching(
            HERE, self.store, lambda blob: self.hints.get(blob, []), limits, self.known, lambda blob: False
        )

    def fetch(self, blob: BlobId, size_bytes: int, moment: Moment) -> tuple[BlobFetch, list[Effect]]:
        fetch, effects = self.fetching.begin(blob, size_bytes, 0, moment)
        return fetch, self.checked(effects + self.fetching.join(fetch, 0, moment), moment)

    def answer(self, sent: SendRequest, status: Status, data: bytes | None, moment: Moment) -> list[Effect]:
        """The request went out at the moment's time, and the answer is there at once."""
        self.fetching.on_sent(sent.fetch, sent.request, moment.now_s)
        answer = None if data is None else ChunkAnswer(status, 0.0, data)
        return self.checked(self.fetching.on_answer(sent.fetch, sent.request, answer, moment), moment)

    def checked(self, effects: list[Effect], moment: Moment) -> list[Effect]:
        """The effects, with each hashing of a whole blob done at once."""
        done: list[Effect] = []
        for effect in effects:
            if isinstance(effect, CheckBlob):
                fetch = effect.fetch
                done += self.fetching.on_checked(fetch, fetch.partial.check(), moment)
            else:
                done.append(effect)
        return done


def requests(effects: list[Effect]) -> list[SendRequest]:
    return [effect for effect in effects if isinstance(effect, SendRequest)]


def ranges(effects: list[Effect]) -> list[tuple[NodeId, int, int]]:
    return [(e.request.node, e.request.offset, e.request.length) for e in requests(effects)]


def surveyed(effects: list[Effect]) -> list[NodeId]:
    return [effect.node for effect in effects if isinstance(effect, SendSurvey)]


def ended(effects: list[Effect]) -> list[FetchEnded]:
    return [effect for effect in effects if isinstance(effect, FetchEnded)]


def look_again_s(effects: list[Effect]) -> float:
    return [effect.at_s for effect in effects if isinstance(effect, LookAgain)][-1]


def pull(bench: Bench, effects: list[Effect], data: bytes, moment: Moment) -> list[Effect]:
    """Answer all requests with the right bytes until none is left."""
    seen = list(effects)
    waiting = requests(effects)
    while waiting:
        sent = waiting.pop(0)
        asked: ChunkRequest = sent.request
        piece = data[asked.offset : asked.offset + asked.length]
        more = bench.answer(sent, Status.WHOLE, piece, moment)
        seen += more
        waiting += requests(more)
    return seen
