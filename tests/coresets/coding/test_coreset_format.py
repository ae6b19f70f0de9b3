from __future__ import annotations

import hashlib

import numpy as np
import pytest

from muster.coresets.coding import decode, encode
from muster.coresets.coreset import Coreset, Space

SHAPES = {"image": (2, 6, 5), "table": (5,), "signal": (7, 3)}
# Written by the first version: what later versions and other processors must write and read alike.
MESSAGES = [
    ("image", 1, "afbb292dc8bea7b6", "dd8f754c71764e4c"),
    ("image", 3, "3c10bba09459afd6", "4313ac9daf92b5ab"),
    ("image", 8, "1a6757e3316fdbd3", "3fabd90614d27bad"),
    ("table", 1, "855127367aac7197", "d13019a09dafd906"),
    ("table", 3, "de578e04ef2fdcea", "38445ef8b222d904"),
    ("table", 8, "0a324331bc578450", "26acea718799026b"),
    ("signal", 1, "8691971efc2c476a", "f8aed5c85207c342"),
    ("signal", 3, "c1694aa51b4e02a3", "d491b43bca1fe670"),
    ("signal", 8, "40ba2a5c2f7b5b23", "4b506062288fb686"),
]


def fixed(name: str, bits: int) -> Coreset:
    """Twelve samples by arithmetic: slopes with a step, columns of any scale, three classes or numbers."""
    shape, classes = SHAPES[name], 0 if name == "signal" else 3
    count, values = 12, int(np.prod(SHAPES[name]))
    at = np.arange(count * values).reshape(count, *shape)
    levels = (at * 3 // 7 % 11 * (at % values > values // 3) % (1 << bits)).astype(np.uint8)
    wide = shape[-1] if name == "table" else 1
    low, high = -np.arange(wide, dtype=np.float32), np.arange(wide, dtype=np.float32) * 2 + 1
    labels = np.arange(count) * 7 % 3 if classes else ((np.arange(count) * 5 % 13) / 4).astype(np.float32)
    weights = {"image": np.full(count, 60), "table": 1 + np.arange(count) * 11 % 17, "signal": labels + 0.3}
    kind = "table" if name == "signal" else name
    space = Space(kind, shape, low, high, classes)
    return Coreset(space, "samples", bits, levels, labels, weights[name].astype(np.float32))


def digest(*parts: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()[:16]


def of_coreset(coreset: Coreset) -> str:
    space = coreset.space
    return digest(coreset.levels, coreset.labels, coreset.weights, space.low, space.high)


@pytest.mark.parametrize(("name", "bits", "written", "read"), MESSAGES)
def test_messages_are_written_and_read_alike_for_ever(name, bits, written, read):
    coreset = fixed(name, bits)
    message = encode(coreset)
    assert digest(np.frombuffer(message, np.uint8)) == written
    assert of_coreset(decode(message, coreset.space, samples_max=12)) == read
