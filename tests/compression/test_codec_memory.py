"""Working memory of the model's codec, beside input and message, in copies of the model."""

from __future__ import annotations

import numpy as np
import pytest
from vectors import NAMES

from muster.compression.benchmark import measure_memory
from muster.compression.tensors import Layout, TensorSpec

ALL = (*NAMES, "stc:0.01", "stc:0.1", "topk:0.01", "topk:0.2", "topk16:0.2")
SLACK = 0.2  # blocks of work are of one size, and large beside a model of 1.5 million weights
ONE = Layout((TensorSpec("big", (1000, 1500), "float32"),))
MANY = Layout(tuple(TensorSpec(f"part{i}", (300, 250), "float32") for i in range(20)))
TABLE = Layout((TensorSpec("table", (100_000, 15), "float32"), TensorSpec("bias", (10,), "float32")))


def update_for(layout):
    rng = np.random.default_rng(0)
    return {spec.name: rng.standard_normal(spec.shape, np.float32) for spec in layout.tensors}


def copies(name, layout, update):
    """(encode, decode, send)"""
    used = measure_memory(name, layout, update)
    return tuple(n / layout.size_bytes for n in (used.encode, used.decode, used.with_feedback))


@pytest.mark.parametrize("name", ALL)
def test_send_needs_the_two_copies_that_it_yields_and_little_more(name):
    encode, decode, with_feedback = copies(name, ONE, update_for(ONE))
    assert encode <= 1 + SLACK
    assert decode <= 1.3 + SLACK
    assert with_feedback <= 2.3 + SLACK


@pytest.mark.parametrize("name", ALL)
def test_many_tensors_need_one_copy_more_to_encode_and_none_to_send(name):
    encode, decode, with_feedback = copies(name, MANY, update_for(MANY))
    assert encode <= 2 + SLACK
    assert decode <= 1.3 + SLACK
    assert with_feedback <= 2.3 + SLACK


@pytest.mark.parametrize("name", ALL)
def test_left_out_rows_need_a_copy_of_the_others_more(name):
    update = update_for(TABLE)
    update["table"][::2] = 0
    encode, decode, with_feedback = copies(name, TABLE, update)
    assert encode <= 2 + SLACK
    assert decode <= 1.5 + SLACK
    assert with_feedback <= 2.5 + SLACK
