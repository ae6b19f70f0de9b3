"""Makes parameters by following a delta path, pulling the deltas that are not here yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from muster.algorithms.slimming.form import Form
from muster.compression.change import add
from muster.compression.model import decode_update
from muster.compression.tensors import Array
from muster.history.point import Point
from muster.job.context import Context
from muster.job.models.delta_path import Segment
from muster.job.models.payloads import payload_bytes
from muster.job.models.retention import KEEP_LAST
from muster.job.models.store import ModelStore
from muster.job.models.stored import Arrays, WrongModel, stage_arrays
from muster.network.blobs.waiters import Progress
from muster.protocol.ids import BlobId, CommitId
from muster.protocol.parts import Payload
from muster.protocol.records import Commit
from muster.storage.store import Blobs, StagedBlob


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
    compute = context.compute(models.layout.size_bytes if models.layout else 0)
    merged = await compute(models.merger(*merge.parents))
    models.keep_merge(merge.id, merged)


async def _apply(
    context: Context, models: ModelStore, segment: Segment, progress: Progress, keep: int
) -> None:
    """Follow a segment from the model that it begins after.

    Only the last `keep` models are kept: for momentum, for a mean, for a merge with one of them.
    Raises WrongModel, CodecError.
    """
    store, begin = context.store, segment[0].parents[0]
    read, form = models.reader(begin), _form_of(models, begin)
    steps: list[Step] = []
    for point in segment:
        record = point.record
        assert isinstance(record, Commit)
        if record.delta is not None:
            await _fetch(context, record.delta, progress)
        steps.append(Step(_form_of(models, point.id), record.delta))
    last = segment[-keep:]
    wanted = [point.params for point in last]
    try:
        made = await context.compute(form.layout.size_bytes)(_follow, store, form, read, steps, wanted)
    except KeyError as error:
        raise WrongModel("what they are made from was deleted") from error
    for staged in made:
        store.put_staged(staged)
    models.check([point.id for point in last])


def _form_of(models: ModelStore, commit: CommitId) -> Form:
    form = models.form_of(commit)
    if form is None:
        raise WrongModel("they are of another model than this node's")
    return form


@dataclass(frozen=True)
class Step:
    """From a commit's parent to it: a delta, or (None) the parent's own channels that its form keeps."""

    form: Form
    delta: Payload | None


def _follow(
    store: Blobs, form: Form, read: Callable[[], Arrays], steps: list[Step], wanted: list[BlobId]
) -> list[StagedBlob]:
    """Take steps one after another from what `read` gives, which is of the form `form`.

    The last results, which are the blobs `wanted`, are written aside.

    Takes long; in any thread. Raises WrongModel when a result is another one than wanted.
    """
    params: Mapping[str, Array] = read()
    found: list[StagedBlob] = []
    for number, step in enumerate(steps, len(wanted) - len(steps)):
        if step.delta is None:
            params = step.form.params(params, form)
        else:
            change = decode_update(step.form.layout, payload_bytes(store, step.delta))
            params = add(step.form.layout, params, change)
        form = step.form
        if number < 0:
            continue
        made = stage_arrays(store, form.layout, params)
        if made.blob != wanted[number]:  # before it is kept: it may be another's
            raise WrongModel("they lead to other parameters")
        found.append(made)
    return found


async def _fetch(context: Context, payload: Payload, progress: Progress) -> None:
    """Pull the bytes of a payload from neighbours when they are not here."""
    if payload.blob is not None and not context.store.has_blob(payload.blob):
        await context.transfers.fetch(payload.blob, payload.size_bytes, progress=progress, rank=0)
