"""What the probes see of real networks, in namespaces: each fault is told from the others."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from zenoh_pair import opened, quiet

from muster.network.transport.endpoints import endpoint
from muster.network.transport.reaching.probing import facts_of, gather
from muster.network.transport.reaching.resolving import resolve
from muster.network.transport.reaching.why import why_unreachable
from muster.network.trust.identity import Identity
from patience import patient_s
from spaces import Spaces, spaces

LOOK = Path(__file__).with_name("looked_at.py")
REJECT = "iptables -A INPUT -p udp -j REJECT"


def seen(net: Spaces, at: str, text: str) -> tuple[str, str]:
    """Kind and sentence."""
    done = subprocess.run(
        [*net.entering(at), sys.executable, str(LOOK), text], capture_output=True, text=True, check=True
    )
    kind, sentence = done.stdout.splitlines()
    return kind, sentence


def pair(net: Spaces, mtu: int = 1500) -> None:
    """a and b on one cable."""
    net.add("a", "b")
    net.wire("a", "b", "192.0.2.1/24", "192.0.2.10/24", mtu)


@pytest.mark.e2e
def test_a_node_that_is_there_is_known_by_its_answer(members: dict[str, Identity]) -> None:
    async def main() -> None:
        node = quiet(members["alpha"], ["127.0.0.1:0"], [])
        async with opened(node):
            facts = await facts_of(endpoint(node.listening()[0]))
            assert (facts.udp, facts.direct) == ("answers", True)
            assert why_unreachable(facts).kind == "other fleet"
        # the engine's socket outlives its session by a little
        async with asyncio.timeout(patient_s(60.0)):
            while (await asyncio.to_thread(gather, facts.endpoint)).udp != "refused":
                await asyncio.sleep(0.2)

    asyncio.run(main())


def test_names_and_interfaces_that_are_not_known() -> None:
    assert resolve(endpoint("localhost")).addresses
    assert resolve(endpoint("nobody.invalid")).fault in ("unknown name", "no name server")
    assert resolve(endpoint("fe80::1%nosuch0")).fault == "no interface"
    assert resolve(endpoint("a..b")).fault == "unknown name"


@pytest.mark.e2e
def test_no_route_no_host_and_a_node_that_is_off() -> None:
    with spaces() as net:
        pair(net)
        assert seen(net, "a", "203.0.113.5:7447")[0] == "no route"
        assert seen(net, "a", "192.0.2.10:7447")[0] == "rejected"
        kind, said = seen(net, "a", "192.0.2.77:7447")
        assert (kind, said) == (
            "no host",
            "no machine has the address 192.0.2.77 now: it is off, or has another address",
        )
        net.run("a", "ip route add prohibit 198.51.100.0/24")
        assert seen(net, "a", "198.51.100.5:7447")[0] == "firewall here"


@pytest.mark.e2e
def test_an_mtu_of_600_is_named_and_1280_is_none_of_it() -> None:
    with spaces() as net:
        pair(net, mtu=600)
        kind, said = seen(net, "a", "192.0.2.10:7447")
        assert kind == "small packets"
        assert "passes no packets of 1,200 bytes (its MTU is 600): Muster needs an MTU of 1,280" in said
    with spaces() as net:
        pair(net, mtu=1280)
        assert seen(net, "a", "192.0.2.10:7447")[0] == "rejected"


@pytest.mark.e2e
def test_a_small_mtu_behind_a_router_is_named() -> None:
    with spaces() as net:
        net.add("a", "router", "b")
        net.wire("a", "router", "192.0.2.1/24", "192.0.2.254/24")
        net.wire("router", "b", "198.51.100.254/24", "198.51.100.10/24", mtu=600)
        net.run("router", "sysctl -q net.ipv4.ip_forward=1")
        net.run("a", "ip route add default via 192.0.2.254")
        net.run("b", "ip route add default via 198.51.100.254")
        kind, said = seen(net, "a", "198.51.100.10:7447")
        assert kind == "small packets"
        assert "(its MTU is 600)" in said


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("at", "rule", "expected"),
    [
        ("b", REJECT, "rejected"),
        ("b", REJECT + " --reject-with icmp-admin-prohibited", "rejected"),
        ("b", "iptables -A INPUT -p udp -j DROP", "no UDP"),
        ("b", "iptables -A INPUT -j DROP", "silent"),
        ("a", "iptables -A OUTPUT -p udp -j DROP", "firewall here"),
        ("a", "iptables -A OUTPUT -p udp -j REJECT", "firewall here"),
    ],
)
def test_a_firewall_is_named_and_where_it_is(at: str, rule: str, expected: str) -> None:
    with spaces("iptables") as net:
        pair(net)
        net.allows(at, rule)
        kind, said = seen(net, "a", "192.0.2.10:7447")
        assert kind == expected
        assert expected == "silent" or "allow UDP port 7447" in said


@pytest.mark.e2e
def test_two_nodes_behind_their_own_routers_are_told_that_neither_can_be_reached() -> None:
    with spaces("iptables") as net:
        net.add("a", "near", "far", "b")
        net.wire("a", "near", "192.168.1.7/24", "192.168.1.1/24")
        net.wire("near", "far", "192.0.2.1/24", "192.0.2.2/24")
        net.wire("far", "b", "10.0.0.1/24", "10.0.0.7/24")
        net.run("a", "ip route add default via 192.168.1.1")
        net.run("b", "ip route add default via 10.0.0.1")
        for router, outside in (("near", "far"), ("far", "near")):
            net.run(router, "sysctl -q net.ipv4.ip_forward=1")
            net.allows(router, f"iptables -t nat -A POSTROUTING -o to-{outside} -j MASQUERADE")
        for rule in ("", "iptables -A INPUT -p udp -j DROP"):
            if rule:
                net.run("far", rule)
            kind, said = seen(net, "a", "192.0.2.2:7447")
            assert kind == "both hidden"
            assert "this node's own address 192.168.1.7 is private" in said
            assert "add a member that both reach, or forward UDP port 7447" in said
