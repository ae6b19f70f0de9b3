"""Large models take the quick paths; the messages say the same as on the thorough ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from muster.compression import model
from muster.compression.codec import CodecError
from muster.compression.codecs import bytestage
from muster.compression.codecs.dense import Dense32
from muster.compression.model import decode_update, encode_update, encode_with_feedback
from muster.compression.tensors import Layout, TensorSpec

LAYOUT = Layout(tuple(TensorSpec(f"t{i}", (700, 600 + i), "float32") for i in range(3)))
ROOM = np.random.default_rng(0)


def update() -> dict[str, Any]:
    return {s.name: ROOM.normal(size=s.shape).astype(np.float32) for s in LAYOUT.tensors}


def test_parts_make_the_message_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = update()
    quick = encode_update(Dense32(), LAYOUT, arrays)
    sent = encode_with_feedback(Dense32(), LAYOUT, arrays, None, 1)
    monkeypatch.setattr(model, "_encode_exactly", lambda *_: None)
    thorough = encode_with_feedback(Dense32(), LAYOUT, arrays, None, 1)
    assert quick == sent.message == thorough.message == encode_update(Dense32(), LAYOUT, arrays)
    assert len(quick) == 1 + LAYOUT.size_bytes
    assert not sent.residual.any()
    for name, array in arrays.items():
        assert sent.decoded[name].tobytes() == array.tobytes() == decode_update(LAYOUT, quick)[name].tobytes()


def test_an_earlier_residual_joins_a_large_update() -> None:
    arrays, left = update(), np.full(sum(s.size for s in LAYOUT.tensors), 2.0**-8, np.float32)
    sent = encode_with_feedback(Dense32(), LAYOUT, arrays, left, 1)
    assert (sent.decoded["t0"] == arrays["t0"] + np.float32(2.0**-8)).all()


def test_what_is_not_finite_is_named_in_any_part() -> None:
    arrays = update()
    arrays["t2"][5, 5] = np.nan
    with pytest.raises(CodecError, match="NaN or infinite"):
        encode_update(Dense32(), LAYOUT, arrays)


def test_rows_that_did_not_change_are_left_out_of_a_large_model_too() -> None:
    arrays = update()
    arrays["t1"][10:690] = 0
    message = encode_update(Dense32(), LAYOUT, arrays)
    assert len(message) < 0.7 * LAYOUT.size_bytes
    assert decode_update(LAYOUT, message)["t1"].tobytes() == arrays["t1"].tobytes()


@pytest.mark.parametrize(("zeros", "taken"), [(0.0, False), (0.5, True)])
def test_a_large_body_is_squeezed_only_where_it_saves_much(zeros: float, taken: bool) -> None:
    """Ordinary weights shrink by 7 %: small bodies take it, large ones go as they are."""
    body = ROOM.normal(size=2_000_000).astype(np.float32)
    body[ROOM.random(body.size) < zeros] = 0
    view = body.view(np.uint8).data
    assert bytestage.squeeze(view)[0] == taken
    assert bytestage.squeeze(view[:1_000_000])[0]
    assert bytestage.sample_pays((view[:777], view[777:5_000_000], view[5_000_000:])) == taken
