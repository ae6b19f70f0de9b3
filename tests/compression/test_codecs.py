from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors import KINDS, NAMES, make, vectors

from muster.compression import CodecError, decode, parse
from muster.compression.codec import TINY
from muster.compression.codecs.quantise import SCALE_BLOCK
from muster.compression.codecs.sparse import kept_count, largest
from muster.compression.codecs.ternary import Ternary


def rng():
    return np.random.default_rng(5)


def there_and_back(name, x):
    message = parse(name).encode(x, rng())
    y = decode(message, x.size)
    assert y.dtype == np.float32
    assert y.shape == x.shape
    assert np.isfinite(y).all()
    return message, y


@settings(max_examples=60, deadline=None)
@given(vectors)
def test_dense32_is_exact(x):
    _, y = there_and_back("dense32", x)
    assert x.tobytes() == y.tobytes()


@settings(max_examples=60, deadline=None)
@given(vectors)
def test_dense16_keeps_its_bound(x):
    _, y = there_and_back("dense16", x)
    x = x.astype(np.float64)
    assert (np.abs(x - y) <= np.abs(x) * 2**-11 + np.abs(x).max(initial=0) * 2**-39 + TINY).all()


@settings(max_examples=60, deadline=None)
@given(vectors, st.sampled_from((("quant8", 127), ("quant4", 7))))
def test_quantisation_is_off_by_less_than_a_step(x, how):
    _, y = there_and_back(how[0], x)
    for start in range(0, x.size, SCALE_BLOCK):
        a, b = x[start : start + SCALE_BLOCK].astype(np.float64), y[start : start + SCALE_BLOCK]
        assert (np.abs(a - b) <= np.abs(a).max() / how[1] * (1 + 1e-6) + TINY).all()


def test_quantisation_is_unbiased():
    x = np.full(SCALE_BLOCK * 200, 0.1234, np.float32)
    x[::SCALE_BLOCK] = 1.0
    _, y = there_and_back("quant4", x)
    rest = np.delete(y, np.s_[::SCALE_BLOCK]).astype(np.float64)
    assert abs(rest.mean() - 0.1234) < 5 * (1 / 7) / 2 / math.sqrt(rest.size)


@settings(max_examples=80, deadline=None)
@given(vectors, st.sampled_from((0.001, 0.02, 0.1, 0.2)))
def test_ternary_leaves_the_stated_error(x, density):
    _, y = there_and_back(f"stc:{density}", x)
    x = x.astype(np.float64)
    k = int((np.abs(x) >= TINY).sum())
    k = min(k, kept_count(density, x.size))
    top = np.sort(np.abs(x))[::-1][:k]
    mean = top.mean() if k else 0.0
    assert int((y != 0).sum()) == k
    scale = max(1.0, np.abs(x).max(initial=0.0))
    left = (((x - y) / scale) ** 2).sum()
    wanted = ((x / scale) ** 2).sum() - k * (mean / scale) ** 2
    assert abs(left - wanted) <= k * (mean / scale) ** 2 * 2**-15 + 1e-9 * ((x / scale) ** 2).sum()
    assert (np.sign(y)[y != 0] == np.sign(x)[y != 0]).all()


@settings(max_examples=80, deadline=None)
@given(vectors, st.sampled_from((("topk:0.05", None), ("topk16:0.05", 2**-11))))
def test_topk_keeps_its_bound(x, how):
    name, relative = how
    message, y = there_and_back(name, x)
    kept = y != 0
    x = x.astype(np.float64)
    if relative is None and len(message) > 2:
        step = message[2 + (message[1] > 127) + 4]
        relative = 2 ** (step / 32) - 1
    bound = np.abs(x) * ((relative or 0) + 1e-6) + np.abs(x).max(initial=0) * 2**-39 + TINY
    assert (np.abs(x - y)[kept] <= bound[kept]).all()
    assert int(kept.sum()) <= kept_count(0.05, x.size)
    if kept.any() and not kept.all():
        floor = max(np.abs(x).max() * 2.0**-100, 2 * TINY)
        assert np.abs(x)[~kept].max() <= max(np.abs(x)[kept].min(), floor)


def test_four_bit_values_are_within_eleven_percent_over_two_octaves():
    x = np.exp2(np.linspace(0, 2, 200)).astype(np.float32)
    y = decode(parse("topk:0.2").encode(np.concatenate((x, np.zeros(800, np.float32))), rng()), 1000)[:200]
    assert (np.abs(y - x) <= 0.115 * x).all()


@pytest.mark.parametrize("size", [5994, 28938, 200_000])
@pytest.mark.parametrize("density", [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2])
def test_ternary_is_within_three_percent_of_the_entropy_bound(size, density):
    x = make("normal", size, 3)
    k = kept_count(density, size)
    message = parse(f"stc:{density}").encode(x, rng())
    log_choose = (math.lgamma(size + 1) - math.lgamma(k + 1) - math.lgamma(size - k + 1)) / math.log(2)
    assert len(message) <= (log_choose + k) / 8 * 1.03 + 6


def test_a_ternary_update_of_six_thousand_parameters_has_126_bytes_at_most():
    assert len(parse("stc:0.02").encode(make("normal", 5994, 1), rng())) <= 126


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.sampled_from((1, 100, 200_000)), st.floats(0.0005, 0.2), st.integers(0, 9))
def test_the_largest_are_the_largest(kind, size, density, seed):
    x = make(kind, size, seed)
    where = largest(x, kept_count(density, size))
    magnitude = np.abs(x)
    eligible = np.flatnonzero(magnitude >= TINY)
    order = eligible[np.lexsort((eligible, -magnitude[eligible]))][: kept_count(density, size)]
    assert where.tolist() == sorted(order.tolist())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 1, 5994, 300_000])
def test_estimates_are_close(name, size):
    codec = parse(name)
    real = len(codec.encode(make("normal", size, 0), rng()))
    assert codec.estimate_bytes(size) * 0.7 - 8 <= real <= codec.estimate_bytes(size) * 1.02 + 4


@pytest.mark.parametrize("name", [*NAMES, "stc:0.0025", "topk:0.123456789", "topk16:1e-05"])
def test_names_describe_the_codec(name):
    assert parse(name).name == name
    assert parse(parse(name).name) == parse(name)


@given(st.floats(0, 0.2, exclude_min=True))
def test_names_are_read_back_exactly(density):
    assert parse(Ternary(density).name) == Ternary(density)


@pytest.mark.parametrize(
    "name",
    ["", "stc", "stc:0", "stc:0.3", "stc:nan", "stc:0_0.1", "stc: 0.1", "topk:x", "dense", "quant2", "auto"],
)
def test_unknown_names_are_refused_with_a_sentence(name):
    with pytest.raises(CodecError, match="codec"):
        parse(name)


@pytest.mark.parametrize("name", NAMES)
def test_messages_do_not_depend_on_anything_but_vector_and_seed(name):
    x = make("heavy", 3000, 4)
    before = x.copy()
    assert parse(name).encode(x, rng()) == parse(name).encode(x, rng())
    assert x.tobytes() == before.tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(name, bad):
    x = make("normal", 50, 0)
    x[7] = bad
    with pytest.raises(CodecError, match="NaN or infinite"):
        parse(name).encode(x, rng())


def decodes_or_says_why(data, size):
    try:
        y = decode(data, size)
    except CodecError:
        pass
    else:
        assert y.shape == (size,)
        assert y.dtype == np.float32
        assert np.isfinite(y).all()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.sampled_from(KINDS), st.sampled_from((1, 7, 1500)), st.data())
def test_corrupted_messages_decode_to_the_right_shape_or_give_a_sentence(name, kind, size, data):
    message = bytearray(parse(name).encode(make(kind, size, 1), rng()))
    for _ in range(data.draw(st.integers(1, 4))):
        spot = data.draw(st.integers(0, min(len(message) - 1, data.draw(st.sampled_from((12, 10**6))))))
        message[spot] = data.draw(st.integers(0, 255))
    decodes_or_says_why(bytes(message), size)
    decodes_or_says_why(bytes(message), data.draw(st.sampled_from((0, 1, 8, 100_000))))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from((0, 1, 50, 5994)))
def test_arbitrary_bytes_decode_to_the_right_shape_or_give_a_sentence(data, size):
    decodes_or_says_why(data, size)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["normal", "zero", "sparse"])
def test_truncated_and_prolonged_messages_are_refused(name, kind):
    message = parse(name).encode(make(kind, 777, 2), rng())
    for cut in range(len(message)) if len(message) < 500 else range(0, len(message), 37):
        with pytest.raises(CodecError):
            decode(message[:cut], 777)
    for tail in (b"\0", b"rub", message[1:]):  # the last is a frame of its own where the body is squeezed
        with pytest.raises(CodecError):
            decode(message + tail, 777)


def test_a_small_message_cannot_ask_for_much_memory():
    bombs = [bytes((6 << 5 | b, 255, 255, 255, 255, 7)) + bytes(40) for b in (0, 9, 30, 31)]
    bombs += [parse("dense32").encode(np.zeros(20_000_000, np.float32), rng())]
    tracemalloc.start()
    try:
        for bomb in bombs:
            with pytest.raises(CodecError):
                decode(bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 120_000_000  # the encoder's own; see below for decoding
        tracemalloc.reset_peak()
        with pytest.raises(CodecError):
            decode(bombs[-1], 1000)
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
