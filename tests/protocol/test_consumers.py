"""Whatever passes the checks makes nobody fail who reads it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from consumers import Consumers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import records

from generators import ByChance, Generator
from muster.network.sync.ledger import Entry
from muster.protocol.envelope import id_of
from muster.protocol.records import Record

EXAMPLES = int(os.environ.get("MUSTER_EXAMPLES", "300"))


@pytest.fixture(scope="module")
def consumers() -> Iterator[Consumers]:
    opened = Consumers()
    yield opened
    opened.close()


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_passes_makes_nobody_fail(consumers: Consumers, data: st.DataObject) -> None:
    consumers.begin()
    for author, record in data.draw(st.lists(records(consumers.around), min_size=1, max_size=4)):
        consumers.give(author, record)


def test_many_by_chance(consumers: Consumers) -> None:
    generator = Generator(ByChance(random.Random(1)), consumers.around)
    for _ in range(3 * EXAMPLES):
        consumers.give(*generator.record())
    assert consumers.taken > consumers.refused / 4  # most are within their limits: else nothing is tested


@settings(max_examples=EXAMPLES // 3, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_view_does_not_depend_on_the_order(consumers: Consumers, data: st.DataObject) -> None:
    given_ = data.draw(st.lists(records(consumers.around), min_size=2, max_size=6))
    taken = [entry(author, record) for author, record in given_ if consumers.allows(record)]
    order = data.draw(st.permutations(taken))
    assert consumers.view_after(taken) == consumers.view_after(order)


def entry(author: bytes, record: Record) -> Entry:
    return Entry(id_of(author, record), author, record, b"", 1, 100)
