from __future__ import annotations

import pytest

from muster.network.transport.zenoh.config import LAN, NARROW
from muster.node.link_profile import ALONE_S, at_start, choose


@pytest.mark.parametrize(
    ("configured", "remembered", "wanted"),
    [
        ("auto", None, LAN),
        ("auto", b"narrow", NARROW),
        ("auto", b"lan", LAN),
        ("auto", b"\xff?", LAN),
        ("lan", b"narrow", LAN),
        ("narrow", None, NARROW),
    ],
)
def test_the_first_session_is_as_configured_or_as_measured_before(
    configured: str, remembered: bytes | None, wanted: object
) -> None:
    assert at_start(configured, remembered) is wanted


def test_the_slowest_link_decides() -> None:
    assert choose(LAN, [1200.0, 1e6], None).profile is NARROW
    assert choose(LAN, [7900.0], None).profile is NARROW
    assert choose(NARROW, [8100.0], None).profile is LAN
    assert not choose(LAN, [1200.0], None).renew  # a session is not thrown away for it
    assert choose(NARROW, [], None).profile is NARROW


def test_who_reaches_nobody_becomes_patient_once() -> None:
    assert not choose(LAN, [], ALONE_S - 1).renew
    first = choose(LAN, [], ALONE_S)
    assert (first.profile, first.renew) == (NARROW, True)
    assert not choose(first.profile, [], ALONE_S + 5).renew
