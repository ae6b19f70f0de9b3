"""Limits of fetching and serving blobs: how many, how much at once, how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from muster.protocol.ids import BlobId


def always() -> bool:
    return True


def everything(blob: BlobId) -> bool:
    return True


@dataclass(frozen=True)
class TransferLimits:
    transfers_max: int = 256  # one's own; a further fetch waits for its turn
    relays_max: int = 64  # fetched for others only; a further request is answered "no"
    relay_bytes_max: int = 16 * 1024**3  # of all of these, as announced: the map of a blob is 0.02 % of it
    relay: Callable[[], bool] = always  # whether anything is fetched for others now
    gives: Callable[[BlobId], bool] = everything  # whether neighbours get a blob that is here
    disk_limit_bytes: int | None = None  # of the whole store: nothing is fetched for others beyond it,
    blob_share: float = 0.25  # but that blobs may have this part of it, however much the records take
    relay_idle_s: float = 120.0  # a relay that nobody asks about for so long is given up (its data stay)
    sources_max: int = 4  # neighbours that one blob is pulled from at once
    held_asks_max: int = 256
    held_asks_neighbour_max: int = 32  # half of what the link serves at once: control must not wait for bulk
    hold_s: float = 8.0  # how long a request waits for data to arrive here; a lost one is missed later
    rest_min_s: float = 1.0
    rest_max_s: float = 60.0
    rest_hinted_s: float = 8.0  # at most, of a neighbour from whom the blob's record was learnt
    survey_again_s: float = 20.0  # between two rounds of asking the neighbours who has a blob
    again_s: float = 3.0  # a last chunk that is so late is asked of an idle source too
    neighbours_max: int = 256
    known_blobs_max: int = 1024
