"""Makes parameters by following a delta path, pulling the deltas that are not here yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from muster.compression.change import add
from muster.compression.model import decode_update
from muster.compression.tensors import Layout
from muster.history.graph import Point
from muster.job.context import Context
from muster.job.models.delta_path import Segment
from muster.job.models.payloads import payload_bytes
from muster.job.models.retention import KEEP_LAST
from muster.job.models.store import Arrays, ModelStore, WrongModel, stage_arrays
from muster.network.blobs.waiters import Progress
from muster.protocol.records import BlobId, Commit, Payload
from muster.storage.store import StagedBlob, Store


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
            if not all([await models.sound(c) for c in segment[0].parents]):
                raise WrongModel("what they begin from was deleted or damaged")
            if last.is_merge:
                await merge_here(context, models, last)
            else:
                await _apply(context, models, segment, progress, KEEP_LAST if segment is path[-1] else 1)
            await asyncio.sleep(0)


async def merge_here(context: Context, models: ModelStore, merge: Point) -> None:
    """Compute a merge of two commits that are held and in use. Raises WrongModel."""
    merged = await context.offload(models.merger(*merge.parents))
    models.keep_merge(merge.id, merged)


async def _apply(
    context: Context, models: ModelStore, segment: Segment, progress: Progress, keep: int
) -> None:
    """Apply the deltas of a segment to the model that it begins after.

    Only the last `keep` models are kept: for momentum, for a mean, for a merge with one of them.
    Raises WrongModel, CodecError.
    """
    layout = models.layout
    assert layout is not None
    store = context.store
    read = models.reader(segment[0].parents[0])
    for left, point in zip(range(len(segment) - 1, -1, -1), segment, strict=True):
        record = point.record
        assert isinstance(record, Commit)
        assert record.delta is not None
        await _fetch(context, record.delta, progress)
        wanted = record.params if left < keep else None
        try:
            params, made = await context.offload(_follow, store, layout, read, record.delta, wanted)
        except KeyError as error:
            raise WrongModel("what they are made from was deleted") from error
        if made is not None:
            store.put_staged(made)
            models.check([point.id])
        read = partial(_same, params)


def _same(params: Arrays) -> Arrays:
    return params


def _follow(
    store: Store, layout: Layout, read: Callable[[], Arrays], delta: Payload, wanted: BlobId | None
) -> tuple[Arrays, StagedBlob | None]:
    """Apply one delta to what `read` gives; where a blob is `wanted`, the result is written aside as well.

    Takes long; in any thread. Raises WrongModel when it is another one than wanted.
    """
    params = add(layout, read(), decode_update(layout, payload_bytes(store, delta)))
    if wanted is None:
        return params, None
    made = stage_arrays(store, layout, params)
    if made.blob != wanted:  # before it is kept: it may be another's
        raise WrongModel("they lead to other parameters")
    return params, made


async def _fetch(context: Context, payload: Payload, progress: Progress) -> None:
    """Pull the bytes of a payload from neighbours when they are not here."""
    if payload.blob is not None and not context.store.has_blob(payload.blob):
        await context.transfers.fetch(payload.blob, payload.size_bytes, progress=progress, rank=0)
