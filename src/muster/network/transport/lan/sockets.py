"""The sockets of the beacons: one group for each address family, joined on every interface as it comes.

Whoever hears a beacon dials the address that it came from.  The engine cannot dial link-local IPv6 addresses
(zenoh 1.10.2 takes the scope for a part of the server's name), so beacons come from the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable

from muster.network.transport.lan.interfaces import Interface

PORT = 7446
GROUP, GROUP6 = "224.0.0.224", "ff02::224"
_AT_ONCE_MAX = 64  # datagrams that are read before others get the loop
_DATAGRAM_BYTES_MAX = 512
SOURCES_MAX = 2  # IPv6 addresses of one interface
_ANY = socket.inet_aton("0.0.0.0")

_FAMILIES: tuple[int, ...] = (socket.AF_INET, socket.AF_INET6)

Heard = Callable[[bytes, str], None]  # a datagram, and the address that it came from


class BeaconSockets:
    """Sends to the groups and hears them. `heard` is called on the loop.

    What the kernel refuses (IPv6 that is switched off, an interface that just went) is left out.
    """

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self.refusal = ""  # why nobody is heard at all
        self._joined: dict[tuple[int, int], Interface] = {}  # by family and index
        self._listening: dict[int, socket.socket] = {}
        self._sending: dict[int, socket.socket] = {}

    def close(self) -> None:
        for one in self._listening.values():
            with contextlib.suppress(RuntimeError):  # the loop is closed
                asyncio.get_running_loop().remove_reader(one)
        for one in (*self._listening.values(), *self._sending.values()):
            one.close()
        self._listening.clear()
        self._sending.clear()
        self._joined.clear()

    def join(self, interfaces: Iterable[Interface]) -> None:
        """Hear the groups on these interfaces; one that is listed for the first time, or again, is joined."""
        for family in _FAMILIES:
            if family not in self._listening:
                try:
                    self._open(family)
                except OSError as error:
                    self.refusal = error.strerror or str(error)
        if self._listening:
            self.refusal = ""
        usable = {
            (family, one.index): one
            for family in self._listening
            for one in interfaces
            if one.multicast and one.running and _sources(one, family)
        }
        for family, index in self._joined.keys() - usable.keys():
            with contextlib.suppress(OSError):
                self._member(family, index, joins=False)
        for family, index in usable.keys() - self._joined.keys():
            try:
                self._member(family, index, joins=True)
            except OSError:
                del usable[family, index]  # it is tried again with the next change
        self._joined = usable

    def send(self, beacon: Callable[[Interface], bytes]) -> None:
        """To the groups, on every interface what is to be said there."""
        for (family, index), interface in self._joined.items():
            sending, data = self._sending[family], beacon(interface)
            with contextlib.suppress(OSError):
                if family == socket.AF_INET:
                    # With the address: a machine that has loopback alone would send from 0.0.0.0.
                    own = socket.inet_aton(_sources(interface, family)[0])
                    chosen = struct.pack("=4s4si", _ANY, own, index)
                    sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, chosen)
                    sending.sendto(data, (GROUP, PORT))
                    continue
                for address in _sources(interface, family)[:SOURCES_MAX]:
                    source = struct.pack("=16si", socket.inet_pton(family, address), index)
                    said = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source)
                    sending.sendmsg([data], [said], 0, (GROUP6, PORT, 0, index))

    def _open(self, family: int) -> None:
        listening = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET:
                listening.bind((GROUP, PORT))
            else:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind(("::", PORT))
            sending = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            listening.close()
            raise
        if family == socket.AF_INET6:
            sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self._listening[family], self._sending[family] = listening, sending
        asyncio.get_running_loop().add_reader(listening, self._read, listening)

    def _member(self, family: int, index: int, *, joins: bool) -> None:
        if family == socket.AF_INET:
            option = socket.IP_ADD_MEMBERSHIP if joins else socket.IP_DROP_MEMBERSHIP
            wanted = struct.pack("=4s4si", socket.inet_aton(GROUP), _ANY, index)
            self._listening[family].setsockopt(socket.IPPROTO_IP, option, wanted)
        else:
            option = socket.IPV6_JOIN_GROUP if joins else socket.IPV6_LEAVE_GROUP
            wanted = struct.pack("=16si", socket.inet_pton(family, GROUP6), index)
            self._listening[family].setsockopt(socket.IPPROTO_IPV6, option, wanted)

    def _read(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE_MAX):
            try:
                data, source = listening.recvfrom(_DATAGRAM_BYTES_MAX)
            except OSError:
                return
            self._heard(data, source[0])


def _sources(interface: Interface, family: int) -> list[str]:
    """The interface's addresses from which beacons of a family can come. Loopback has IPv4 in any case."""
    wanted = [a for a in interface.addresses if (":" in a) == (family == socket.AF_INET6)]
    return [address for address in wanted if "%" not in address and address != "::1"]
