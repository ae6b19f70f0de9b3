from __future__ import annotations

import hashlib

import numpy as np
import pytest

from muster.compression import CodecError, decode, parse
from muster.compression.codec import ESCAPE, first_byte
from muster.compression.codecs import families
from muster.compression.codecs.dense import Dense32
from muster.compression.model import decode_update, encode_update
from muster.compression.tensors import Layout, TensorSpec

# Messages written by the first version: what every later version and every processor must read alike.
MESSAGES = [
    (
        "quant8",
        "400000484000778e667d946c919b728a617890217f976e859c75b2637b9269819942879e768e657cd36c839a71",
        "107a04d0559760d4",
    ),
    ("quant4", "600000484070688686685886726887a7766897736858c77669", "6bceacccf53e674d"),
    ("topk:0.1", "8304000048400316e8ae3ac0", "ed82bc4fbbb7de08"),
    ("topk16:0.1", "a304f316ef640f4a0f2007420ac0", "64249c5f507103f1"),
    ("stc:0.1", "c304104016eeac", "8d2b2170c283564b"),
]


def vector():
    return np.array([((i * 37) % 101 - 50) / 64 * (1 + (i % 7 == 0) * 3) for i in range(40)], np.float32)


@pytest.mark.parametrize(("name", "message", "digest"), MESSAGES)
def test_messages_decode_to_the_same_bits_for_ever(name, message, digest):
    decoded = decode(bytes.fromhex(message), 40)
    assert hashlib.sha256(decoded.astype("<f4").tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize(("name", "message", "digest"), MESSAGES)
def test_messages_are_written_as_before(name, message, digest):
    assert parse(name).encode(vector(), np.random.default_rng(1)).hex() == message


def test_a_ternary_message_by_hand():
    """Family 6, Rice b = 1; two elements (3 and 5) of magnitude 1.0, the second negative."""
    bits = (
        "1" + "1" + "0" + "1" + "01" + "1"
    )  # low bits of gaps 3 and 1, two signs, gap 3 >> 1 = 1, gap 1 >> 1 = 0
    message = bytes((6 << 5 | 1, 2)) + bytes.fromhex("803f") + int(bits.ljust(8, "0"), 2).to_bytes(1, "big")
    assert decode(message, 8).tolist() == [0, 0, 0, 1, 0, -1, 0, 0]


class Later(Dense32):
    """A codec of a later version: fp32 under a family number that one byte cannot say."""

    NAME = "later"
    FAMILY = 8


@pytest.mark.parametrize("buffers", [False, True])
def test_a_family_number_beyond_the_first_byte(monkeypatch, buffers):
    """Alone, and behind the buffers of a composed message, whose first byte begins alike."""
    specs = [TensorSpec("w", (40,), "float32"), *([TensorSpec("n", (1,), "int64")] if buffers else [])]
    layout, update = Layout(specs), {"w": vector(), "n": np.array([3])}
    message = encode_update(Later(), layout, update)
    own = Later().encode(vector(), np.random.default_rng(1))
    assert message.endswith(own)
    assert own[:2] == b"\xff\x08"
    with pytest.raises(CodecError, match="family 8, which this version does not know"):
        decode_update(layout, message)
    monkeypatch.setitem(families._BY_NUMBER, Later.FAMILY, Later)
    decoded = decode_update(layout, message)
    assert np.array_equal(decoded["w"], vector())
    assert not buffers or decoded["n"].tolist() == [3]


def test_family_numbers_are_used_once():
    assert len({family.FAMILY for family in families.FAMILIES}) == len(families.FAMILIES)
    assert ESCAPE not in {family.FAMILY for family in families.FAMILIES}
    assert first_byte(6, 3) == bytes((6 << 5 | 3,))
    for short in (b"\xff", b"\xff\x08"):
        with pytest.raises(CodecError, match="ends too early"):
            decode(short, 1)
