from __future__ import annotations

import hashlib

import numpy as np
import pytest

from muster.compression import decode, parse

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
