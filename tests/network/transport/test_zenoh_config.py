"""Locators, ports, and the profile of a link."""

from __future__ import annotations

import socket

import pytest

from muster.network.transport.endpoints import DEFAULT_PORT, Endpoint
from muster.network.transport.zenoh.config import (
    LAN,
    NARROW,
    dial_locator,
    endpoint_of,
    free_endpoint,
    listen_locator,
    profile_for,
)


@pytest.mark.parametrize("host", ["10.0.0.2", "gate.local", "fd00::2", "::1"])
def test_both_forms_of_a_locator_name_the_same_endpoint(host: str) -> None:
    point = Endpoint(host, 7447)
    assert endpoint_of(listen_locator(point)) == endpoint_of(dial_locator(point) + "?rel=1") == point


def test_the_profile_follows_the_rate() -> None:
    assert profile_for(None) is LAN
    assert profile_for(1e6) is LAN
    assert profile_for(9600) is NARROW


def test_without_a_port_the_default_or_a_free_one_is_taken() -> None:
    first = free_endpoint(port=DEFAULT_PORT)
    with socket.socket(socket.AF_INET6 if ":" in first.host else socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((first.host, first.port))
        second = free_endpoint(port=first.port)
    assert second.port not in (0, first.port)
