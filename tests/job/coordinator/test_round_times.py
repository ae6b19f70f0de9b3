"""The first round's expected time, from what nodes offered."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from muster.job.coordinator.round_times import UNKNOWN_RATE_BYTES_S, RoundTimeModel, keep_from_seed
from muster.planning.codec_choice import CodecChoice
from muster.protocol.records import Offer
from muster.storage.memory import MemoryStore

A, B, C = b"A" * 32, b"B" * 32, b"C" * 32
MODEL_BYTES, UPDATE_BYTES = 20_000_000, 9_700
JOB = b"j" * 32


def offer(goodput_bytes_s: int) -> Offer:
    return Offer(JOB, 1, 1, 100, 0.01, goodput_bytes_s=goodput_bytes_s)


def expected_s(node: bytes, offers: dict[bytes, Offer], *, seeded: bool = False) -> float:
    store = MemoryStore(random.Random(1))
    if seeded:
        keep_from_seed(store, JOB)
    job = SimpleNamespace(recipe=SimpleNamespace(steps=10))
    context = cast(Any, SimpleNamespace(node=A, store=store, presence=None))
    view = cast(Any, SimpleNamespace(id=JOB, offers=offers, job=job))
    models = cast(Any, SimpleNamespace(layout=SimpleNamespace(blob_bytes=MODEL_BYTES)))
    head = cast(Any, SimpleNamespace(is_merge=False))
    choice = cast(CodecChoice, SimpleNamespace(codec="auto", size_bytes=UPDATE_BYTES))
    return RoundTimeModel(context, view, models).resources(head, node, choice).overhead_s


def test_a_model_that_every_node_makes_does_not_cross_the_link() -> None:
    assert expected_s(B, {A: offer(0), B: offer(0)}, seeded=True) < 2.0


def test_a_node_that_has_the_model_sends_its_update_at_the_rate_that_it_measured() -> None:
    assert expected_s(B, {A: offer(0), B: offer(1_000_000)}) < 1.0


def test_one_that_has_it_not_is_expected_at_the_rate_of_the_others() -> None:
    offers = {A: offer(0), B: offer(1_000_000), C: offer(0)}
    assert expected_s(C, offers) == pytest.approx(0.5 + (MODEL_BYTES + UPDATE_BYTES) / 1e6)


def test_nothing_known_is_a_narrow_link() -> None:
    assert expected_s(B, {A: offer(0), B: offer(0)}) > MODEL_BYTES / UNKNOWN_RATE_BYTES_S
