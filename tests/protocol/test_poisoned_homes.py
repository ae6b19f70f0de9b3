"""A home that holds a record which nobody can use starts, says so, and finishes the job with the others."""

from __future__ import annotations

from typing import Any

import pytest
from harmful import HARMFUL, harmful
from poisoned import ROUNDS, Homes, Played, homes, play, signed

from muster.protocol.envelope import decode, encode
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Record

NAMES = "abc"
DONE = f"{ROUNDS} rounds done"


def planted(fleet: Homes, path: str, value: Any) -> tuple[RecordId, NodeId, Record, bytes]:
    author, record = harmful(fleet, path, value)
    record = decode(encode(record))
    record_id, wire = signed(author, record, NAMES)
    return record_id, author, record, wire


def all_done(played: Played) -> bool:
    return len(played.finished) == len(NAMES) and set(played.finished.values()) == {DONE}


@pytest.mark.parametrize(("path", "value"), HARMFUL)
def test_a_poisoned_home_starts_and_finishes_the_job_with_the_others(path: str, value: Any) -> None:
    fleet = homes(NAMES)
    played = play(fleet, [planted(fleet, path, value)], live=False, seconds=120.0, done=all_done)
    assert not played.faults
    assert played.finished == dict.fromkeys(NAMES, DONE)
    assert [text for text in played.said if "is set aside" in text]
    assert played.records == {"a"}  # it stays where it was


@pytest.mark.parametrize(("path", "value"), HARMFUL)
def test_what_a_member_sends_is_refused_and_named_once(path: str, value: Any) -> None:
    fleet = homes(NAMES)
    one = planted(fleet, path, value)
    played = play(fleet, [one, one], live=True, seconds=120.0, done=all_done)
    assert not played.faults
    assert played.refused
    assert played.finished == dict.fromkeys(NAMES, DONE)
    assert len([text for text in played.said if "made a record that is refused" in text]) == 1
    assert not played.records


def test_all_of_them_at_once() -> None:
    fleet = homes(NAMES)
    records = [planted(fleet, path, value) for path, value in HARMFUL]
    for live in (False, True):
        played = play(fleet, records, live=live, seconds=120.0, restart=True, done=all_done)
        assert not played.faults
        assert played.finished == dict.fromkeys(NAMES, DONE)
