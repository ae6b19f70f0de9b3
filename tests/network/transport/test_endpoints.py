"""Endpoints in every form that the system knows; a wrong one is one sentence that says what is wrong."""

from __future__ import annotations

import pytest

from muster.errors import MusterError
from muster.network.transport.endpoints import DEFAULT_PORT, Endpoint, endpoint, endpoint_fault


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.2:7447", "10.0.0.2", 7447),
        ("10.0.0.2", "10.0.0.2", DEFAULT_PORT),
        (" 127.0.0.1:0 ", "127.0.0.1", 0),
        ("[::]:7000", "::", 7000),
        ("fd00::1", "fd00::1", DEFAULT_PORT),
        ("[fd00::1]", "fd00::1", DEFAULT_PORT),
        ("[fe80::1%eth0]", "fe80::1%eth0", DEFAULT_PORT),
        ("fe80::1%wlan0", "fe80::1%wlan0", DEFAULT_PORT),
        ("[fe80::1%3]:7448", "fe80::1%3", 7448),
        ("raspberrypi.local", "raspberrypi.local", DEFAULT_PORT),
        ("node_7.lab:7447", "node_7.lab", 7447),
        ("bücherei.example:1", "bücherei.example", 1),
        ("quic/gate.example:1", "gate.example", 1),
    ],
)
def test_endpoints_are_read(text: str, host: str, port: int) -> None:
    point = endpoint(text)
    assert point == Endpoint(host, port)
    assert endpoint(str(point)) == point


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write HOST:PORT"),
        (":7447", "write HOST:PORT"),
        ("a b:1", "write HOST:PORT"),
        ("tcp/host:1", "write HOST:PORT"),
        ("https://gate.example", "write HOST:PORT"),
        ("[::", "write HOST:PORT"),
        ("host:x", "write HOST:PORT"),
        ("fd00::zz", "write HOST:PORT"),
        ("host:99999", "a port is at most 65535"),
        ("host:" + "9" * 5000, "a port is at most 65535"),
        ("10.0.0.300", "four numbers up to 255"),
        ("10.0.2:7447", "four numbers up to 255"),
        ("[gate]:7447", "an IPv6 address belongs between the brackets"),
        ("[10.0.0.2]:7447", "an IPv6 address belongs between the brackets"),
        ("-gate:7447", "a host's name has letters"),
        ("a" * 300, "a host's name has letters"),
    ],
)
def test_what_is_no_endpoint_is_named_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(MusterError, match=f"is no endpoint: .*{said}") as caught:
        endpoint(text)
    assert caught.value.code == "config"
    assert len(caught.value.sentence) < 250
    assert endpoint_fault(text) == caught.value.sentence


def test_some_endpoints_are_good_for_one_purpose_only() -> None:
    assert endpoint_fault("0.0.0.0:7447") is None
    assert "nobody can be dialled" in (endpoint_fault("[::]:7447", dialled=True) or "")
    assert endpoint_fault("10.0.0.2:0") is None
    assert "has a port" in (endpoint_fault("10.0.0.2:0", dialled=True) or "")
    assert "such as [fe80::1%eth0]:7447" in (endpoint_fault("fe80::1") or "")
    assert endpoint_fault("fe80::1%eth0", dialled=True) is None
