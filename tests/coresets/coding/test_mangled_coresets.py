from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_coresets import made
from mangled import mangled, message, outcome

from muster.coresets.coding import CoresetError, decode, encode
from muster.coresets.coding.binary_coder import BITS_PER_BYTE, HALF, LEAST, ONE, Reader, Writer
from muster.coresets.coreset import Space
from muster.protocol.varint import encode_varint


def test_mangled_messages_are_refused_or_read_and_nothing_else() -> None:
    counts: Counter[str] = Counter()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        data, space = message(rng)
        assert outcome(data, space) == "coreset taken"
        try:
            counts.update(outcome(mangled(rng, data), space) for _ in range(10))
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
    assert counts["coreset refused"] > 400, counts


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=200), st.sampled_from([(0x10, (2, 3)), (0x12, (3,)), (0x12, (3, 2))]), st.booleans()
)
def test_noise_behind_a_good_header_is_refused_or_read(noise, space, equal):
    first, shape = space
    header = bytes((first, 0 if equal else 8, 5, 4, len(shape), *shape))
    kind = "image" if first == 0x10 else "table"
    outcome(header + noise, Space(kind, shape, np.zeros(1, np.float32), np.ones(1, np.float32), 4))


def test_every_beginning_of_a_message_is_refused() -> None:
    for seed in range(5):
        data, space = message(np.random.default_rng(seed))
        for end in range(len(data)):
            with pytest.raises(CoresetError):
                decode(data[:end], space, samples_max=64)
        with pytest.raises(CoresetError):
            decode(data + b"\0", space, samples_max=64)


def claims(count: int, shape: tuple[int, ...], bits: int) -> tuple[bytes, Space]:
    """The header of so many images, all of which weigh 1."""
    header = bytes((0x10, bits - 1)) + b"".join(map(encode_varint, (count, 10, len(shape), *shape)))
    space = Space("image", shape, np.zeros(1, np.float32), np.ones(1, np.float32), 10)
    return header + np.float32(1).tobytes(), space


@pytest.mark.parametrize(
    ("count", "shape", "bits"), [(2**31, (1, 28, 28), 1), (10**6, (3, 224, 224), 8), (40_000, (1, 28, 28), 1)]
)
def test_what_a_message_only_says_it_holds_takes_no_memory(count, shape, bits) -> None:
    header, space = claims(count, shape, bits)
    tracemalloc.start()
    try:
        with pytest.raises(CoresetError):
            decode(header + bytes(40), space, samples_max=2**32)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_message_of_blank_images_costs_no_more_than_its_limits_say() -> None:
    images = made("image", (1, 28, 28), 10, 1000, 1, np.random.default_rng(0))
    images.levels[:] = 0
    data = encode(images)
    assert len(data) * BITS_PER_BYTE > images.levels.size  # or its own reader would refuse it
    assert len(data) < 300
    with pytest.raises(CoresetError, match="1 to 999"):
        decode(data, images.space, samples_max=999)


@pytest.mark.parametrize("chance", [LEAST, HALF, ONE - LEAST])
@pytest.mark.parametrize("length", [0, 1, 10])
def test_a_reader_ends_with_its_message_whatever_the_chances(length, chance) -> None:
    for seed in range(20):
        data = b"\x20" + np.random.default_rng(seed).bytes(3 + length)
        with pytest.raises(CoresetError):
            Reader(data).code(np.full(len(data) * BITS_PER_BYTE, chance), None)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(LEAST, ONE - LEAST), st.integers(0, 1)), min_size=1, max_size=300))
def test_bits_are_read_as_written_and_take_what_they_are_worth(said) -> None:
    chances, bits = np.array(said).T
    writer = Writer()
    writer.code(chances[::2], bits[::2])
    for chance, bit in zip(chances[1::2].tolist(), bits[1::2].tolist(), strict=True):
        writer.bit(chance, bit)
    data = writer.message()
    reader = Reader(data)
    assert reader.code(chances[::2], None).tolist() == bits[::2].tolist()
    assert [reader.bit(chance, None) for chance in chances[1::2].tolist()] == bits[1::2].tolist()
    reader.end()
    worth = -np.log2(np.where(bits, chances, ONE - chances) / ONE).sum()
    assert len(data) <= worth / 8 * 1.01 + 4
