"""Reads endpoints: where a node listens, and whom it dials.

All forms that the system knows: a host's name (also ``raspberrypi.local``), an IPv4 or an IPv6 address, with
or without a port, and ``fe80::1%eth0`` for an address that is valid on one interface only.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from muster.errors import MusterError

DEFAULT_PORT = 7447
HOST_CHARS_MAX = 253

_BRACKETED = re.compile(r"\[(?P<host>[^\[\]]+)\](?::(?P<port>\d+))?")
_PLAIN = re.compile(r"(?P<host>[^\s:/\[\]%]+)(?::(?P<port>\d+))?")
_NAME = re.compile(r"[^\W_](?:[\w.-]*[\w.])?")
_NUMBERS = re.compile(r"[\d.]+")


@dataclass(frozen=True)
class Endpoint:
    """A host and a UDP port."""

    host: str  # a name, an IPv4 address, or an IPv6 address without brackets, perhaps with its interface
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """None: the host is a name."""
        return _address(self.host)


def endpoint(text: str) -> Endpoint:
    """Read "10.0.0.2", "gate.local:7447", "fd00::1", "[fe80::1%eth0]:7447".

    Raises MusterError("config") with what is wrong.
    """
    plain = text.strip().removeprefix("quic/")
    if _address(plain) is not None:  # of an IPv6 address alone the colons begin no port
        return Endpoint(plain, DEFAULT_PORT)
    match = _BRACKETED.fullmatch(plain) or _PLAIN.fullmatch(plain)
    if match is None:
        raise _fault(text, "write HOST:PORT, such as 10.0.0.2:7447, gate.local:7447 or [fd00::1]:7447")
    host, port = match["host"], int((match["port"] or str(DEFAULT_PORT))[:6])
    if port > 65535:
        raise _fault(text, f"a port is at most 65535, such as {DEFAULT_PORT}")
    if plain.startswith("[") and (_address(host) is None or ":" not in host):
        raise _fault(text, "an IPv6 address belongs between the brackets, such as [fd00::1]:7447")
    if _address(host) is None:
        if _NUMBERS.fullmatch(host):
            raise _fault(text, "an IPv4 address has four numbers up to 255, such as 10.0.0.2")
        if len(host) > HOST_CHARS_MAX or not _NAME.fullmatch(host):
            raise _fault(text, "a host's name has letters, digits, '.', '-' and '_', such as gate.local")
    return Endpoint(host, port)


def endpoint_fault(text: str, *, dialled: bool = False) -> str | None:
    """What is wrong with an endpoint that a user wrote, as a sentence, or None."""
    try:
        point = endpoint(text)
    except MusterError as error:
        return error.sentence
    if dialled and point.port == 0:
        return f"{text!r} is no endpoint: a node that is dialled has a port, such as {DEFAULT_PORT}"
    address = point.address
    if address is not None and address.version == 6 and address.is_link_local and not address.scope_id:
        return f"{text!r} is valid on one interface only: say which, such as [{point.host}%eth0]:{point.port}"
    if dialled and address is not None and address.is_unspecified:
        return f"{text!r} is no endpoint: nobody can be dialled there, name a host or an address"
    return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _fault(text: str, what: str) -> MusterError:
    return MusterError("config", f"{text[:80]!r} is no endpoint: {what}")
