"""This machine's network interfaces with their addresses, as the kernel has them now.

Linux only; elsewhere there are none.  Names, flags and IPv4 addresses come by ioctl, IPv6 addresses from
/proc: both answer where netlink is refused.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

INTERFACES_MAX = 64
_SIOCGIFCONF, _SIOCGIFFLAGS = 0x8912, 0x8913
_UP, _LOOPBACK, _RUNNING, _MULTICAST = 0x1, 0x8, 0x40, 0x1000
_IFREQ_BYTES = 40 if struct.calcsize("P") == 8 else 32
_TENTATIVE, _FAILED = 0x40, 0x08  # an IPv6 address that is still being tried out, or is somebody else's
_INET6 = Path("/proc/net/if_inet6")


@dataclass(frozen=True)
class Interface:
    """One network interface. Link-local IPv6 addresses have their scope: "fe80::1%2"."""

    name: str
    index: int
    running: bool  # up, with a carrier
    multicast: bool  # datagrams to a group can be sent over it; loopback included
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Changes:
    """What became of this machine's addresses between two looks; those of a dead interface count as gone."""

    come: frozenset[str]
    gone: frozenset[str]

    def sentence(self) -> str:
        """For people, such as "this machine has the address 10.9.0.2, and 10.9.0.1 no more"."""
        parts = []
        if self.come:
            parts.append(f"has the address {', '.join(sorted(self.come))}")
        if self.gone:
            parts.append(f"has {', '.join(sorted(self.gone))} no more")
        return "this machine " + ", and ".join(parts)


def changes(before: Iterable[Interface], after: Iterable[Interface]) -> Changes | None:
    """What changed, link-local addresses left aside; None: nothing that matters to anybody.

    >>> changes([], [Interface("eth0", 2, True, True, ("10.0.0.1", "fe80::1%2"))]).sentence()
    'this machine has the address 10.0.0.1'
    """
    old, new = _usable(before), _usable(after)
    return None if old == new else Changes(frozenset(new - old), frozenset(old - new))


def _usable(interfaces: Iterable[Interface]) -> set[str]:
    return {address for one in interfaces if one.running for address in one.addresses if "%" not in address}


def interfaces() -> tuple[Interface, ...]:
    """All of them, by index; empty where the kernel does not say."""
    found = []
    addresses: dict[str, list[str]] = {}
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for name, address in _inet(asking):
            addresses.setdefault(name, []).append(address)
        for name, address in _inet6():
            addresses.setdefault(name, []).append(address)
        for index, name in socket.if_nameindex()[:INTERFACES_MAX]:
            with contextlib.suppress(OSError):  # gone meanwhile
                flags = _flags(asking, name)
                found.append(
                    Interface(
                        name,
                        index,
                        bool(flags & _UP and flags & _RUNNING),
                        bool(flags & (_MULTICAST | _LOOPBACK)),
                        tuple(addresses.get(name, ())),
                    )
                )
    return tuple(found)


def _flags(asking: socket.socket, name: str) -> int:
    answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, struct.pack("16s24x", name.encode()))
    return int(struct.unpack_from("<H" if struct.pack("=H", 1)[0] else ">H", answer, 16)[0])


def _inet(asking: socket.socket) -> list[tuple[str, str]]:
    """Names and IPv4 addresses; an interface with several is named several times."""
    room = array.array("B", bytes(4 * INTERFACES_MAX * _IFREQ_BYTES))
    where, length = room.buffer_info()
    answer = fcntl.ioctl(asking, _SIOCGIFCONF, struct.pack("iP", length, where))
    used = struct.unpack("iP", answer)[0]
    data = room.tobytes()
    return [
        (
            data[at : at + 16].partition(b"\0")[0].decode(errors="replace").partition(":")[0],
            socket.inet_ntoa(data[at + 20 : at + 24]),
        )
        for at in range(0, used, _IFREQ_BYTES)
    ]


def _inet6() -> list[tuple[str, str]]:
    """Names and IPv6 addresses that may be used."""
    found = []
    with contextlib.suppress(OSError):
        for line in _INET6.read_text().splitlines():
            digits, index, _, _, flags, name = line.split()
            address = ipaddress.IPv6Address(int(digits, 16))
            if not int(flags, 16) & (_TENTATIVE | _FAILED):
                found.append((name, f"{address}%{int(index, 16)}" if address.is_link_local else str(address)))
    return found
