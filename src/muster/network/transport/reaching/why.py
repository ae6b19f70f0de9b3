"""Says in one sentence why an endpoint is not reached, and what to do: a pure function of what was seen."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

from muster.network.transport.endpoints import Endpoint

MTU_NEEDED = 1280  # that people read; every IPv6 network has it
QUIC_BYTES = 1200  # of UDP that a path must pass in one packet (RFC 9000, section 14)
HEADER_BYTES = {4: 28, 6: 48}  # of IP and UDP

Udp = Literal[
    "not tried",
    "answers",  # a QUIC server is there
    "silent",
    "refused",  # the other machine, or one before it, says that nothing listens
    "rejected",  # a machine on the path says that it may not pass
    "forbidden",  # this machine's own firewall
    "too large",  # a packet of `QUIC_BYTES` does not pass
]
Tcp = Literal["not tried", "there", "silent", "unreachable"]  # there: it accepts, or says that it does not
Kind = Literal[
    "unknown name",
    "no name server",
    "no interface",
    "no route",
    "small packets",
    "firewall here",
    "both hidden",
    "rejected",
    "other fleet",
    "no UDP",
    "no host",
    "silent",
]


@dataclass(frozen=True)
class Facts:
    """What was seen of the path to one endpoint."""

    endpoint: Endpoint
    resolved: Literal["yes", "unknown name", "no name server", "no interface"] = "yes"
    address: str = ""  # that was tried last
    route: bool = True
    source: str = ""  # this machine's address towards it
    direct: bool = True  # in a network that this machine is in; else behind a router
    mtu: int | None = None  # of the path, as far as this machine knows
    udp: Udp = "not tried"
    tcp: Tcp = "not tried"  # the same host


@dataclass(frozen=True)
class Reason:
    """Why, in short for programs and a sentence for people."""

    kind: Kind
    sentence: str


def why_unreachable(facts: Facts) -> Reason:
    """The first thing that explains it, from here outwards."""
    kind = _kind(facts)
    named = facts.endpoint.address is None and facts.address
    sentence = _SENTENCES[kind].format(
        host=facts.endpoint.host,
        interface=facts.endpoint.host.partition("%")[2],
        where=f"{facts.endpoint} ({facts.address})" if named else str(facts.endpoint),
        address=facts.address,
        source=facts.source,
        port=facts.endpoint.port,
        mtu="" if facts.mtu is None else f" (its MTU is {facts.mtu:,})",
        bytes=f"{QUIC_BYTES:,}",
        needed=f"{MTU_NEEDED:,}",
    )
    return Reason(kind, sentence)


_SENTENCES: dict[Kind, str] = {
    "unknown name": "no address is known for {host}: check the name",
    "no name server": (
        "no name server says which address {host} has: check this machine's network, or write an address"
    ),
    "no interface": "this machine has no interface {interface} now: 'ip link' says which it has",
    "no route": "this machine has no route to {where}: is its interface up, or its VPN?",
    "small packets": (
        "the path to {where} passes no packets of {bytes} bytes{mtu}: Muster needs an MTU of {needed}"
    ),
    "firewall here": "this machine's own firewall rejects UDP to {where}: allow UDP port {port}",
    "other fleet": (
        "the node at {where} does not take this one in: it belongs to another fleet, or one of the two was "
        "revoked; 'muster fleet issue NAME' makes a bundle of its fleet"
    ),
    "no host": "no machine has the address {address} now: it is off, or has another address",
    "both hidden": (
        "{where} lets nothing in, and this node's own address {source} is private, so neither node can be "
        "reached from outside: add a member that both reach, or forward UDP port {port} at one of the routers"
    ),
    "rejected": (
        "UDP to {where} is rejected: allow UDP port {port} in the firewalls there and between, or start the "
        "node there"
    ),
    "no UDP": (
        "{where} is there but no UDP comes back: allow UDP port {port} in the firewalls there and between, "
        "or start the node there"
    ),
    "silent": "nobody answers at {where}: the node there is off or out of reach",
}


def _kind(facts: Facts) -> Kind:
    if facts.resolved != "yes":
        return facts.resolved
    if not facts.route:
        return "no route"
    if facts.udp == "too large" or _too_small(facts):
        return "small packets"
    if facts.udp == "forbidden":
        return "firewall here"
    if facts.udp == "answers":
        return "other fleet"
    if facts.direct and facts.tcp == "unreachable":
        return "no host"
    if _hidden(facts):
        return "both hidden"
    if facts.udp in ("refused", "rejected"):
        return "rejected"
    return "no UDP" if facts.tcp == "there" else "silent"


def _too_small(facts: Facts) -> bool:
    version = 6 if ":" in facts.address else 4
    return facts.mtu is not None and facts.mtu < QUIC_BYTES + HEADER_BYTES[version]


def _hidden(facts: Facts) -> bool:
    """Whether both ends seem to be behind routers that translate addresses: what the other's router does not
    let in can only come about from there, and this node cannot be dialled either."""
    if facts.direct or facts.udp not in ("silent", "refused", "rejected"):
        return False
    return is_private(facts.source) and not is_private(facts.address)


def is_private(address: str) -> bool:
    """Whether an address is good within one site only.

    >>> is_private("192.168.1.7"), is_private("100.64.0.1"), is_private("192.0.2.1"), is_private("fd00::1")
    (True, True, False, True)
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(parsed in network for network in _PRIVATE if network.version == parsed.version)


_PRIVATE = [
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
]
