"""Endpoints, and the profile of a link."""

from __future__ import annotations

import socket

import pytest

from muster.errors import MusterError
from muster.network.transport.zenoh.config import (
    DEFAULT_PORT,
    LAN,
    NARROW,
    Endpoint,
    endpoint,
    free_endpoint,
    profile_for,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.2:7447", "10.0.0.2", 7447),
        ("10.0.0.2", "10.0.0.2", DEFAULT_PORT),
        ("[::]:7000", "::", 7000),
        ("[fe80::1%eth0]", "fe80::1%eth0", DEFAULT_PORT),
        ("quic/gate.example:1", "gate.example", 1),
        ("127.0.0.1:0", "127.0.0.1", 0),
    ],
)
def test_endpoints_are_read(text: str, host: str, port: int) -> None:
    point = endpoint(text)
    assert point == Endpoint(host, port)
    assert endpoint(point.locator) == point


@pytest.mark.parametrize(
    "text", ["", ":7447", "a b:1", "host:99999", "tcp/host:1", "fe80::1", "[::", "host:x"]
)
def test_what_is_no_endpoint_is_named(text: str) -> None:
    with pytest.raises(MusterError, match="is no endpoint") as caught:
        endpoint(text)
    assert caught.value.code == "config"


def test_the_profile_follows_the_rate() -> None:
    assert profile_for(None) is LAN
    assert profile_for(1e6) is LAN
    assert profile_for(9600) is NARROW


def test_without_a_port_the_default_or_a_free_one_is_taken() -> None:
    first = free_endpoint()
    with socket.socket(socket.AF_INET6 if ":" in first.host else socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((first.host, first.port))
        second = free_endpoint()
    assert second.port not in (0, first.port)
