"""What goes into `Fetching` with every event, and the effects that come out: the shell carries them out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from muster.network.blobs.fetch.blob_fetch import BlobFetch, ChunkRequest
from muster.protocol.ids import NodeId
from muster.storage.store import StorageError


class Moment(NamedTuple):
    """When an event happens: the time, and the neighbours that are up."""

    now_s: float
    up: Collection[NodeId]


@dataclass(frozen=True)
class SendRequest:
    """Ask a neighbour for a range. After `overdue_s`, if given, it is to be called overdue."""

    fetch: BlobFetch
    request: ChunkRequest
    overdue_s: float | None


@dataclass(frozen=True)
class SendSurvey:
    """Ask a neighbour whether it has all of the blob."""

    fetch: BlobFetch
    node: NodeId


@dataclass(frozen=True)
class LookAgain:
    """Call `on_time` at `at_s`, and not at the time that was set before."""

    fetch: BlobFetch
    at_s: float


@dataclass(frozen=True)
class BytesCame:
    """More of the blob is held: tell the fetchers how much, and answer the neighbours that wait for it."""

    fetch: BlobFetch


@dataclass(frozen=True)
class CheckBlob:
    """All bytes are here: hash them beside the loop, and say `on_checked`."""

    fetch: BlobFetch


@dataclass(frozen=True)
class FetchEnded:
    """The blob is held (`held`), given up, or failed (`error`).

    `nudge`: neighbours that may want to know that it is held.
    """

    fetch: BlobFetch
    held: bool
    error: StorageError | None = None
    nudge: tuple[NodeId, ...] = ()


Effect: TypeAlias = SendRequest | SendSurvey | LookAgain | BytesCame | CheckBlob | FetchEnded
