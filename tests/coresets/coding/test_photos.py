from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from made_coresets import made

from muster.coresets.coding import CoresetError, decode, encode
from muster.coresets.coreset import Coreset


def smooth(shape: tuple[int, ...], count: int = 7) -> Coreset:
    """Photos that are slopes of their own brightness and direction, one of them with an edge."""
    coreset = made("photo", shape, 5, count, 8, np.random.default_rng(1), weights="whole")
    down, across = np.meshgrid(np.linspace(0, 90, shape[-2]), np.linspace(0, 60, shape[-1]), indexing="ij")
    at = np.arange(count).reshape(-1, *[1] * len(shape))
    levels = np.broadcast_to(20 + 12 * at + down * (at % 3) / 2 + across * (at % 2), (count, *shape)).copy()
    levels[-1, ..., shape[-1] // 2 :] = 200
    return replace(coreset, levels=levels.astype(np.uint8))


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (3, 17, 40), (1, 33, 20), (20, 21), (3, 1, 1), (1, 3, 48, 16)]
)
def test_photos_are_read_nearly_as_they_were(shape):
    pytest.importorskip("PIL")
    coreset = smooth(shape)
    read = decode(encode(coreset, photo_quality=80), coreset.space, samples_max=7)
    order = np.lexsort((coreset.weights, coreset.labels))
    assert read.levels.shape == coreset.levels.shape
    away = np.abs(read.levels.astype(int) - coreset.levels[order])
    assert away.mean() < 4, away.mean()
    assert np.median(away) <= 4
    assert np.array_equal(read.labels, coreset.labels[order])
    assert np.array_equal(read.weights, coreset.weights[order])


def test_the_quality_decides_the_bytes():
    pytest.importorskip("PIL")
    coreset = smooth((3, 64, 64), 20)
    noise = np.random.default_rng(0).integers(-20, 20, coreset.levels.shape)
    coreset = replace(coreset, levels=np.clip(coreset.levels + noise, 0, 255).astype(np.uint8))
    lengths = [len(encode(coreset, photo_quality=quality)) for quality in (5, 40, 90)]
    assert lengths[0] * 2 < lengths[1] < lengths[2] / 2, lengths


def test_a_picture_of_another_size_or_kind_is_refused():
    pytest.importorskip("PIL")
    coreset = smooth((3, 16, 16))
    data = encode(coreset)
    at = data.index(b"\x9d\x01\x2a")
    for changed in (
        data[: at + 3] + b"\x20" + data[at + 4 :],  # 32 wide
        data[: at + 4] + b"\xff\x3f" + data[at + 6 :],  # as high as can be
        data[: at - 3] + bytes((data[at - 3] | 1,)) + data[at - 2 :],  # no key frame
        data[: at + 20],
        data[:at],
    ):
        with pytest.raises(CoresetError, match="photos"):
            decode(changed, coreset.space, samples_max=7)


def test_mangled_photos_are_refused_or_read():
    pytest.importorskip("PIL")
    coreset = smooth((3, 16, 16))
    data = encode(coreset)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 5))):
            changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
        del changed[int(rng.integers(len(changed) // 2, 2 * len(changed))) :]
        try:
            read = decode(bytes(changed), coreset.space, samples_max=7)
        except CoresetError:
            continue
        assert read.levels.shape[1:] == (3, 16, 16)


@pytest.mark.parametrize("shape", [(2, 16, 16), (3, 5000, 5000), (3, 20000, 1)])
def test_what_no_picture_can_hold_is_refused(shape):
    pytest.importorskip("PIL")
    coreset = made("photo", shape, 5, 1, 8, np.random.default_rng(0))
    with pytest.raises(CoresetError):
        encode(coreset)


def test_photos_in_few_bits_are_refused():
    with pytest.raises(CoresetError, match="photos in 2 bits"):
        encode(replace(smooth((3, 16, 16)), bits=2))


def test_without_pillow_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(CoresetError, match=r"pip install muster-fl\[photos\]"):
        encode(smooth((3, 16, 16)))
