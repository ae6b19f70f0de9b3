"""Looks at the path to an endpoint with the means of a plain user: what the kernel knows, and a few packets.

The probe is a QUIC packet of a version that nobody speaks: every QUIC server answers it with the versions
that it does speak (RFC 9000, section 6), before any handshake.  It is as large as the smallest first packet.
A TCP connection to the same port, which no node accepts, says whether the machine is there at all.
"""

from __future__ import annotations

import errno
import secrets
import socket
import struct
from dataclasses import replace
from typing import Any

from muster.network.transport.endpoints import Endpoint
from muster.network.transport.reaching.resolving import resolve
from muster.network.transport.reaching.why import QUIC_BYTES, Facts, Tcp, Udp
from muster.network.transport.zenoh.threads import call_limited

PROBES = 3
ANSWER_S = 1.0  # that one may take
TCP_S = 4.0  # Linux takes three to find out that nobody has an address
ADDRESSES_TRIED_MAX = 3
FACTS_S_MAX = 30.0  # all of it

_VERSION = 0x1A2A3A4A  # of those that are reserved for this (RFC 9000, section 15)
_ID_BYTES = 8
# Linux; Python's socket module does not name them
_IP = {"level": socket.IPPROTO_IP, "discover": 10, "recverr": 11, "mtu": 14}
_IPV6 = {"level": socket.IPPROTO_IPV6, "discover": 23, "recverr": 25, "mtu": 24}
_DONT_FRAGMENT = 2


def gather(point: Endpoint) -> Facts:
    """What can be seen of the path to an endpoint; of the address that gets furthest. Blocks for seconds."""
    resolved = resolve(point)
    if resolved.fault:
        return Facts(point, resolved=resolved.fault)
    best: Facts | None = None
    for address in resolved.addresses[:ADDRESSES_TRIED_MAX]:
        facts = _look(point, address)
        if best is None or _seen(facts) > _seen(best):
            best = facts
        if facts.udp == "answers":
            break
    assert best is not None
    return best


async def facts_of(point: Endpoint) -> Facts:
    """The same, off the loop."""
    try:
        return await call_limited(lambda: gather(point), FACTS_S_MAX)
    except TimeoutError:  # the resolver hangs: the probes themselves have their limits
        return Facts(point, resolved="no name server")


def _seen(facts: Facts) -> tuple[bool, bool, bool, bool]:
    """The larger, the further."""
    return (facts.udp == "answers", facts.route, facts.udp != "silent", facts.tcp == "there")


def _look(point: Endpoint, address: str) -> Facts:
    found = socket.getaddrinfo(address, point.port, type=socket.SOCK_DGRAM)
    family, _, _, _, target = found[0]
    facts = Facts(point, address=address)
    options = _IPV6 if family == socket.AF_INET6 else _IP
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        level = options["level"]
        probe.setsockopt(level, options["discover"], _DONT_FRAGMENT)
        probe.setsockopt(level, options["recverr"], 1)
        try:
            probe.connect(target)
        except OSError as error:
            forbidden = _meaning(error.errno) == "forbidden"  # a route that says so
            return replace(facts, udp="forbidden") if forbidden else replace(facts, route=False)
        udp = _ask(probe)
        facts = replace(
            facts,
            source=str(probe.getsockname()[0]),
            direct=_direct(family, target),
            mtu=probe.getsockopt(level, options["mtu"]),
            udp=udp,
        )
    return facts if udp == "answers" else replace(facts, tcp=_knock(family, target))


def _ask(probe: socket.socket) -> Udp:
    """Send the probe, wait for the answer or an error that the network sends."""
    seen: Udp = "silent"
    for _ in range(PROBES):
        sender = secrets.token_bytes(_ID_BYTES)
        head = struct.pack(">BIB", 0xC0, _VERSION, _ID_BYTES) + secrets.token_bytes(_ID_BYTES)
        packet = (head + bytes((_ID_BYTES,)) + sender).ljust(QUIC_BYTES, b"\0")
        probe.settimeout(ANSWER_S)
        try:
            probe.send(packet)
            answer = probe.recv(QUIC_BYTES)
        except TimeoutError:
            continue
        except OSError as error:
            seen = _meaning(error.errno)
            if seen == "silent":
                return seen
            continue  # twice the same says more than once: a node may just be starting
        if answer[1:5] == bytes(4) and answer[6 : 6 + _ID_BYTES] == sender:
            return "answers"
    return seen


def _meaning(number: int | None) -> Udp:
    if number == errno.EMSGSIZE:
        return "too large"
    if number in (errno.EPERM, errno.EACCES):
        return "forbidden"
    if number == errno.ECONNREFUSED:
        return "refused"
    return "rejected" if number in (errno.EHOSTUNREACH, errno.ENETUNREACH) else "silent"


def _direct(family: int, target: Any) -> bool:
    """Whether the kernel knows a path without a router."""
    with socket.socket(family, socket.SOCK_DGRAM) as near:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
        try:
            near.connect(target)
        except OSError:
            return False
    return True


def _knock(family: int, target: Any) -> Tcp:
    with socket.socket(family, socket.SOCK_STREAM) as knocking:
        knocking.settimeout(TCP_S)
        try:
            knocking.connect(target)
        except ConnectionRefusedError:
            return "there"
        except TimeoutError:
            return "silent"
        except OSError as error:
            gone = error.errno in (errno.EHOSTUNREACH, errno.EHOSTDOWN)
            return "unreachable" if gone else "silent"
    return "there"
