"""Makes parameters by following a delta path, pulling the deltas that are not here yet."""

from __future__ import annotations

import asyncio
import hashlib

from muster.compression.change import add
from muster.compression.model import decode_update
from muster.compression.tensors import pack
from muster.job.context import Context
from muster.job.models.delta_path import Segment
from muster.job.models.payloads import payload_bytes
from muster.job.models.retention import KEEP_LAST
from muster.job.models.store import ModelStore, WrongModel
from muster.network.blobs.waiters import Progress
from muster.protocol.records import Commit, Payload


async def follow_path(context: Context, models: ModelStore, path: list[Segment], progress: Progress) -> None:
    """Make the last point of a path. Raises WrongModel, CodecError.

    `progress(held, all)` is called as bytes of each delta come.
    """
    ends = {c for s in path for c in (*s[0].parents, s[-1].id)}
    with models.using(ends):
        for segment in path:
            last = segment[-1]
            if models.held(last.id):  # it came by other means meanwhile
                continue
            if not all(models.held(c) for c in segment[0].parents):
                raise WrongModel("what they begin from was deleted")
            if last.is_merge:
                models.keep_merge(last.id, *last.parents)
            else:
                await _apply(context, models, segment, progress, KEEP_LAST if segment is path[-1] else 1)
            await asyncio.sleep(0)


async def _apply(
    context: Context, models: ModelStore, segment: Segment, progress: Progress, keep: int
) -> None:
    """Apply the deltas of a segment to the model that it begins after.

    Only the last `keep` models are kept: for momentum, for a mean, for a merge with one of them.
    Raises WrongModel, CodecError.
    """
    layout = models.layout
    assert layout is not None
    params = models.arrays(segment[0].parents[0])
    for left, point in zip(range(len(segment) - 1, -1, -1), segment, strict=True):
        record = point.record
        assert isinstance(record, Commit)
        assert record.delta is not None
        message = await _fetched(context, record.delta, progress)
        params = add(layout, params, decode_update(layout, message))
        if left < keep:
            packed = pack(layout, params)
            if hashlib.sha256(packed).digest() != record.params:  # before it is kept: it may be another's
                raise WrongModel("they lead to other parameters")
            context.store.put_blob(packed)
            models.check([point.id])
        await asyncio.sleep(0)


async def _fetched(context: Context, payload: Payload, progress: Progress) -> bytes:
    """The bytes of a payload, pulled from neighbours when they are not here."""
    if payload.blob is not None and not context.store.has_blob(payload.blob):
        await context.transfers.fetch(payload.blob, payload.size_bytes, progress=progress, rank=0)
    return payload_bytes(context.store, payload)
