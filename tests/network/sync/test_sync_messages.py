from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.network.sync.heartbeat import (
    HEARS_MAX,
    STATES,
    Heartbeat,
    Said,
    pack_heartbeats,
    unpack_heartbeats,
)
from muster.network.sync.messages import (
    WIRE,
    Announce,
    Changes,
    Since,
    WrongWire,
    pack,
    pack_announce,
    unpack_announce,
    unpack_changes,
    unpack_since,
)
from muster.network.transport.link_speed import LinkSpeed

ME = b"m" * 8
AFTER = Heartbeat(b"a" * 8, 1, 2, STATES.index("training"), 0, 255, b"", 4)

heartbeats = st.builds(
    Heartbeat,
    node=st.sampled_from([ME, b"a" * 8, b"b" * 8]),
    start=st.integers(0, 2**40),
    count=st.integers(0, 2**40),
    state=st.integers(0, len(STATES) - 1),
    progress=st.integers(0, 100),
    battery=st.one_of(st.integers(0, 100), st.just(255)),
    job=st.sampled_from([b"", b"jobs"]),
    round=st.integers(0, 10_000),
)


@given(st.lists(heartbeats, max_size=12))
def test_heartbeats_survive(sent: list[Heartbeat]) -> None:
    assert unpack_heartbeats(pack_heartbeats(sent, ME), ME + b"rest") == Said(sent)


@given(st.lists(heartbeats, max_size=3), st.binary(max_size=40))
def test_damaged_heartbeats_do_no_harm(sent: list[Heartbeat], junk: bytes) -> None:
    for heartbeat in unpack_heartbeats(pack_heartbeats(sent, ME)[:-1] + junk, ME).heartbeats:
        assert len(heartbeat.node) == 8
        assert 0 <= heartbeat.state < len(STATES)


@given(st.lists(heartbeats, max_size=5), st.frozensets(st.binary(min_size=4, max_size=4), max_size=9))
def test_brief_ones_and_whom_a_node_hears_survive(sent: list[Heartbeat], hears: frozenset[bytes]) -> None:
    briefs = [heartbeat.brief() for heartbeat in sent]
    assert unpack_heartbeats(pack_heartbeats(briefs, ME, hears), ME) == Said([], briefs, hears)
    for brief, heartbeat in zip(briefs, sent, strict=True):
        assert brief.of(heartbeat) == heartbeat
        assert brief.of(msgspec.structs.replace(heartbeat, start=heartbeat.start + 1)) is None


def test_a_list_of_whom_a_node_hears_is_bounded() -> None:
    many = frozenset(number.to_bytes(4, "big") for number in range(HEARS_MAX + 1))
    found = unpack_heartbeats(pack_heartbeats([], ME, many), ME).hears
    assert found is not None
    assert len(found) == HEARS_MAX
    assert unpack_heartbeats(b"\x0f\xff\x01" + bytes(4 * 255), ME) == Said()


def test_a_state_of_a_later_version_is_as_good_as_none() -> None:
    packed = pack_heartbeats([Heartbeat(b"o" * 8, 1, 2, len(STATES) + 1, 0, 255, b"", 4), AFTER], ME)
    assert [(h.node, STATES[h.state]) for h in unpack_heartbeats(packed, ME).heartbeats] == [
        (b"o" * 8, "idle"),
        (AFTER.node, "training"),
    ]


def test_own_heartbeats_are_short() -> None:
    assert len(pack_heartbeats([Heartbeat(ME, 3, 40, 2, 50, 255, b"jobs", 7)], ME)) <= 10


def test_an_announcement_of_another_life_looks_damaged() -> None:
    data = pack_announce(Announce(1, 2, [(3, b"p" * 8)], [b"record"], b""), 77)
    assert unpack_announce(data, 77) == Announce(1, 2, [(3, b"p" * 8)], [b"record"], b"")
    assert unpack_announce(data, 78) is None
    assert unpack_announce(data[:-1], 77) is None
    for at in range(len(data)):
        assert unpack_announce(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], 77) is None


def test_an_older_format_is_named() -> None:
    old = msgspec.msgpack.encode([1234567, 10, b"d" * 16, False])  # format 1 began with the incarnation
    with pytest.raises(WrongWire, match=f"in format 1, this node in format {WIRE}: update muster"):
        unpack_since(old)
    with pytest.raises(WrongWire, match="in format 9"):
        unpack_changes(msgspec.msgpack.encode([9, 1, 1, [], b""]))
    since = Since(WIRE, 5, 6, b"d" * 16, True)
    assert unpack_since(pack(since)) == since
    changes = Changes(WIRE, 1, 2, 3, [(4, b"p" * 8)], b"")
    assert unpack_changes(pack(changes)) == changes


@pytest.mark.parametrize(
    ("rate_bytes_s", "narrow"), [(1200, True), (4000, True), (32_000, False), (1e7, False)]
)
def test_pace_tells_narrow_links_from_others(rate_bytes_s: float, narrow: bool) -> None:
    speed = LinkSpeed()
    for size in (100, 1500, 60, 2500, 900):
        speed.add_sample(size, 0.6 + size / rate_bytes_s)
    assert speed.narrow() is narrow
    rate = speed.rate_bytes_s()
    assert rate is not None
    assert rate == pytest.approx(rate_bytes_s, rel=0.3) or not narrow


def test_pace_is_silent_while_it_knows_nothing() -> None:
    speed = LinkSpeed()
    speed.add_sample(100, 0.6)
    assert speed.rate_bytes_s() is None
    assert not speed.narrow()
