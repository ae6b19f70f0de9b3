"""Each way in which an endpoint is not reached is one sentence that names it and says what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster.network.transport.endpoints import Endpoint
from muster.network.transport.reaching.why import Facts, why_unreachable

HERE = Facts(Endpoint("192.0.2.10", 7447), address="192.0.2.10", source="192.0.2.1", mtu=1500)
NAME = replace(HERE, endpoint=Endpoint("gate.local", 7447))
NEITHER = "add a member that both reach, or forward UDP port 7447 at one of the routers"
FAR = replace(HERE, direct=False, source="192.168.1.7", udp="silent", tcp="silent")


@pytest.mark.parametrize(
    ("facts", "kind", "said"),
    [
        (replace(NAME, resolved="unknown name"), "unknown name", "no address is known for gate.local"),
        (replace(NAME, resolved="no name server"), "no name server", "check this machine's network"),
        (Facts(Endpoint("fe80::1%wlan9", 7447), "no interface"), "no interface", "no interface wlan9 now"),
        (replace(HERE, route=False), "no route", "no route to 192.0.2.10:7447"),
        (
            replace(HERE, udp="too large", mtu=600),
            "small packets",
            "(its MTU is 600): Muster needs an MTU of 1,280",
        ),
        (replace(HERE, udp="silent", mtu=1000), "small packets", "passes no packets of 1,200 bytes"),
        (
            replace(HERE, udp="too large", mtu=None),
            "small packets",
            "bytes: Muster needs an MTU of 1,280",
        ),
        (replace(HERE, udp="forbidden"), "firewall here", "own firewall rejects UDP to 192.0.2.10:7447"),
        (replace(HERE, udp="answers"), "other fleet", "belongs to another fleet"),
        (replace(HERE, udp="refused", tcp="there"), "rejected", "UDP to 192.0.2.10:7447 is rejected"),
        (replace(FAR, udp="rejected", source="192.0.2.1"), "rejected", "allow UDP port 7447"),
        (
            replace(HERE, udp="rejected", tcp="unreachable"),
            "no host",
            "no machine has the address",
        ),
        (replace(HERE, udp="silent", tcp="unreachable"), "no host", "it is off, or has another address"),
        (replace(HERE, udp="silent", tcp="there"), "no UDP", "is there but no UDP comes back"),
        (
            FAR,
            "both hidden",
            NEITHER,
        ),
        (replace(FAR, udp="refused"), "both hidden", "this node's own address 192.168.1.7 is private"),
        (replace(FAR, address="10.9.0.1"), "silent", "nobody answers at"),
        (
            replace(NAME, udp="silent", tcp="silent"),
            "silent",
            "at gate.local:7447 (192.0.2.10)",
        ),
    ],
)
def test_what_was_seen_is_said(facts: Facts, kind: str, said: str) -> None:
    reason = why_unreachable(facts)
    assert reason.kind == kind
    assert said in reason.sentence
    assert "\n" not in reason.sentence
    assert not reason.sentence.endswith(".")


def test_an_mtu_that_is_just_enough_is_no_reason() -> None:
    assert why_unreachable(replace(HERE, mtu=1228, udp="silent")).kind == "silent"
    assert why_unreachable(replace(HERE, mtu=1227, udp="silent")).kind == "small packets"
    six = replace(HERE, address="fd00::1", udp="silent")
    assert why_unreachable(replace(six, mtu=1248)).kind == "silent"
    assert why_unreachable(replace(six, mtu=1247)).kind == "small packets"
