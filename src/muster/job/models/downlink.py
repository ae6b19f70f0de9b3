"""Makes a round's new model and the delta that leads to it. Takes long; in any thread.

The model is kept as every node will rebuild it from the delta.  What it lacks then is the residual.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from muster.compression.change import add, difference
from muster.compression.codec import CodecError
from muster.compression.codecs.families import parse
from muster.compression.feedback import norm
from muster.compression.model import encode_with_feedback, flatten
from muster.compression.tensors import Layout
from muster.job.models import residuals
from muster.job.models.folding import Arrays, Outcome, RoundContext, fold
from muster.job.models.payloads import StagedPayload, payload_bytes, stage_payload
from muster.job.models.residuals import Kept, Vector
from muster.job.models.store import stage_arrays
from muster.job.view import KnownUpdate
from muster.planning.codec_choice import DENSE
from muster.protocol.records import Discarded, Folded, JobId
from muster.storage.store import StagedBlob, Store


@dataclass(frozen=True)
class Downlink:
    """What a commit announces, written aside."""

    folded: tuple[Folded, ...]
    discarded: tuple[Discarded, ...]
    params: StagedBlob
    delta: StagedPayload | None
    residual: StagedBlob | None
    residual_norm: float
    waiting: float  # |residual| / |change|: how many rounds' worth the delta leaves for later ones


def make_downlink(
    store: Store,
    job: JobId,
    onto: Callable[[], RoundContext],
    updates: Sequence[KnownUpdate],
    codec: str,
    left: tuple[Kept, float] | None,
) -> Downlink:
    """Fold `updates` and encode what changes. `onto()` reads what the round is aggregated on.

    `left`: the residual of this node's earlier commits, and the part of it that joins the change.  Raises
    KeyError when a blob was deleted meanwhile, StorageError.
    """
    context = onto()
    outcome = fold(context, updates, lambda u: payload_bytes(store, u.record.payload))
    before = residuals.read(store, left[0]) * np.float32(left[1]) if left is not None else None
    params, delta, residual, waiting = _encode(store, context, outcome, codec, before)
    return Downlink(
        outcome.folded, outcome.discarded, stage_arrays(store, context.layout, params), delta,
        residuals.stage(store, "down", job, residual), norm(residual), waiting,
    )  # fmt: skip


def _encode(
    store: Store, context: RoundContext, outcome: Outcome, codec: str, left: Vector | None
) -> tuple[Arrays, StagedPayload | None, Vector | None, float]:
    """The new model, the delta that leads to it, the residual and how much it is."""
    layout: Layout = context.layout
    if not outcome.folded:
        return outcome.params, None, left, 0.0
    if codec == DENSE and left is None:
        return outcome.params, None, None, 0.0
    change = difference(layout, context.base, outcome.params)
    try:
        sent = encode_with_feedback(parse(codec), layout, change, left, context.round)
        params = add(layout, context.base, sent.decoded)
    except CodecError:  # no message can carry it, as where training diverged: the model goes as a whole
        return outcome.params, None, left, 0.0
    waiting = norm(sent.residual) / (norm(flatten(layout, change)) or 1.0)
    return params, stage_payload(store, codec, sent.message), sent.residual, waiting
