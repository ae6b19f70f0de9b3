"""What a message of a whole model is forecast to take, against what it takes."""

from __future__ import annotations

import numpy as np
import pytest

from muster.compression import parse
from muster.compression.buffers import beside_bytes, weights
from muster.compression.model import encode_update
from muster.compression.tensors import Layout, TensorSpec
from muster.planning.codec_choice import LADDER, Message

WEIGHTS, CHANNELS = 60_000, 3_000
BATCH_NORM = Layout(
    (
        TensorSpec("w", (WEIGHTS,), "float32"),
        TensorSpec("norm.running_mean", (CHANNELS,), "float32", learnt=False),
        TensorSpec("norm.running_var", (CHANNELS,), "float32", learnt=False),
        TensorSpec("norm.num_batches_tracked", (), "int64", learnt=False),
    )
)
WEIGHTS_ALONE = Layout(BATCH_NORM.tensors[:1])


@pytest.mark.parametrize("codec", LADDER)
def test_statistics_and_counters_are_in_the_forecast(codec: str) -> None:
    rng = np.random.default_rng(0)
    update = {
        spec.name: rng.standard_normal(spec.shape).astype(np.float32) if spec.floating else np.array(20)
        for spec in BATCH_NORM.tensors
    }
    whole = encode_update(parse(codec), BATCH_NORM, update)
    bare = encode_update(parse(codec), WEIGHTS_ALONE, {"w": update["w"]})
    forecast = Message(weights(BATCH_NORM), beside_bytes(BATCH_NORM))
    beside = forecast.size_bytes(codec) - Message(weights(WEIGHTS_ALONE)).size_bytes(codec)
    assert beside == len(whole) - len(bare) == 2 * (1 + 2 * CHANNELS) + 2 + 1
