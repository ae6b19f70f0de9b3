"""Makes a round's new model and the delta that leads to it. Takes long; in any thread.

The model is kept as every node will rebuild it from the delta.  What it lacks then is the residual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muster.compression.change import Difference, Sum
from muster.compression.codec import CodecError
from muster.compression.codecs.families import parse
from muster.compression.feedback import norm
from muster.compression.model import encode_with_feedback, weights_norm
from muster.compression.tensors import chunks
from muster.job.models import residuals
from muster.job.models.folding import Outcome, RoundContext, fold
from muster.job.models.payloads import StagedPayload, sound_payload_bytes, stage_payload
from muster.job.models.residuals import LeftOut, Vector
from muster.job.models.stored import stage_arrays
from muster.job.uncounted import KnownUpdate
from muster.planning.codec_choice import DENSE
from muster.protocol.ids import JobId, NodeId
from muster.protocol.parts import Discarded, Folded
from muster.storage.store import Blobs, StagedBlob


@dataclass(frozen=True)
class Downlink:
    """What a commit announces, written aside."""

    folded: tuple[Folded, ...]
    counts_for: tuple[tuple[NodeId, ...], ...]
    discarded: tuple[Discarded, ...]
    params: StagedBlob
    delta: StagedPayload | None
    residual: StagedBlob | None
    residual_norm: float
    waiting: float  # |residual| / |change|: how many rounds' worth the delta leaves for later ones


def make_downlink(
    store: Blobs,
    job: JobId,
    onto: RoundContext,
    updates: Sequence[KnownUpdate],
    codec: str,
    left: LeftOut | None,
    nearest: bool = False,
) -> Downlink:
    """Fold `updates` and encode what changes.

    `left`: what this node's earlier commits left out, which joins the change.  `nearest`: quantised to the
    nearest level, not at random.  Raises KeyError when a blob was deleted meanwhile, StorageError.
    """
    outcome = fold(onto, updates, lambda u: sound_payload_bytes(store, u.record.payload))

    def made(
        params: StagedBlob, delta: StagedPayload | None, residual: Vector | None, waiting: float
    ) -> Downlink:
        kept = residuals.stage(store, "down", job, residual)
        return Downlink(
            outcome.folded, outcome.counts_for, outcome.discarded, params, delta, kept, norm(residual),
            waiting,
        )  # fmt: skip

    if outcome.folded and not (codec == DENSE and left is None):
        try:
            return made(*_encode(store, onto, outcome, codec, _before(store, onto, left), nearest))
        except CodecError:  # no message can carry it, as where training diverged: the model goes as a whole
            pass
    return made(stage_arrays(store, onto.form.layout, outcome.params), None, _before(store, onto, left), 0.0)


def _before(store: Blobs, onto: RoundContext, left: LeftOut | None) -> Vector | None:
    return left.read(store, onto.form) if left is not None else None


def _encode(
    store: Blobs, onto: RoundContext, outcome: Outcome, codec: str, left: Vector | None, nearest: bool
) -> tuple[StagedBlob, StagedPayload, Vector, float]:
    """The new model, the delta that leads to it, the residual and how much it is. Raises CodecError."""
    layout, base = onto.form.layout, onto.base()
    change = Difference(layout, base, outcome.params)
    sent = encode_with_feedback(parse(codec), layout, change, left, None if nearest else onto.round)
    params = store.stage(chunks(layout, Sum(layout, base, sent.decoded)))
    waiting = norm(sent.residual) / (weights_norm(layout, change) or 1.0)
    return params, stage_payload(store, codec, sent.message), sent.residual, waiting
