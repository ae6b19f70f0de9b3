"""Just enough rtnetlink and ethtool to build the emulated network, without needing iproute2.

Every function acts in the network namespace that the calling thread is in and raises OSError.
(Kernel headers linux/rtnetlink.h, linux/if_link.h, linux/ethtool.h.)
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct

_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_ERROR = 2
_NEWLINK, _NEWADDR, _NEWROUTE, _NEWNEIGH = 16, 20, 24, 28
_IFF_UP = 1
_SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, _SSG, _STSO, _SUFO, _SGSO, _SGRO
_OFFLOADS = (0x17, 0x19, 0x1F, 0x22, 0x24, 0x2C)


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _link(index: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("=BBHiII", 0, 0, 0, index, flags, change)


def _request(kind: int, flags: int, *bodies: bytes) -> None:
    """Send requests in one go and wait for all the acknowledgements."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.bind((0, 0))
        for number, body in enumerate(bodies, 1):
            header = struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST | _ACK, number, 0)
            netlink.send(header + body)
            reply = netlink.recv(65536)
            _, answer, _, _, _, code = struct.unpack_from("=IHHIIi", reply)
            if answer == _ERROR and code:
                raise OSError(-code, os.strerror(-code))


def add_veth(outer: str, inner: str, inner_mac: bytes, inner_namespace_fd: int, mtu: int) -> None:
    """A veth pair: `outer` here, `inner` in the namespace behind the descriptor, no bursts."""
    one_segment = _attribute(40, struct.pack("=I", 1))  # IFLA_GSO_MAX_SEGS
    size = _attribute(4, struct.pack("=I", mtu))
    peer = (
        _link()
        + _text(3, inner)
        + _attribute(1, inner_mac)
        + size
        + one_segment
        + _attribute(28, struct.pack("=I", inner_namespace_fd))  # IFLA_NET_NS_FD
    )
    info = _text(1, "veth") + _attribute(2, _attribute(1, peer))
    _request(_NEWLINK, _CREATE | _EXCL, _link() + _text(3, outer) + size + one_segment + _attribute(18, info))


def set_up(name: str) -> None:
    """Switch an interface on."""
    _request(_NEWLINK, 0, _link(socket.if_nametoindex(name), _IFF_UP, _IFF_UP))


def add_address(name: str, address: str, prefix: int) -> None:
    """Give an interface an IPv4 address."""
    packed = socket.inet_aton(address)
    head = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, socket.if_nametoindex(name))
    mask = (1 << (32 - prefix)) - 1
    broadcast = struct.pack("!I", struct.unpack("!I", packed)[0] | mask)
    body = head + _attribute(2, packed) + _attribute(1, packed) + _attribute(4, broadcast)
    _request(_NEWADDR, _CREATE | _REPLACE, body)


def add_multicast_route(name: str) -> None:
    """Multicast without a stated interface goes out here."""
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, 4, 0, 0, 254, 4, 253, 1, 0)
    index = struct.pack("=I", socket.if_nametoindex(name))
    _request(
        _NEWROUTE,
        _CREATE | _REPLACE,
        head + _attribute(1, socket.inet_aton("224.0.0.0")) + _attribute(4, index),
    )


def add_neighbours(name: str, neighbours: list[tuple[str, bytes]]) -> None:
    """Permanent entries (address, MAC), so that nobody asks by ARP."""
    head = struct.pack("=BBHiHBB", socket.AF_INET, 0, 0, socket.if_nametoindex(name), 0x80, 0, 0)
    bodies = [
        head + _attribute(1, socket.inet_aton(address)) + _attribute(2, mac) for address, mac in neighbours
    ]
    _request(_NEWNEIGH, _CREATE | _REPLACE, *bodies)


def offloads_off(name: str) -> None:
    """Frames leave as they would on a wire: no segmentation or checksum left to hardware."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in _OFFLOADS:
            value = array.array("I", [command, 0])
            request = struct.pack("16sP8x", name.encode(), value.buffer_info()[0])
            try:
                fcntl.ioctl(control, _SIOCETHTOOL, request)
            except OSError as error:
                # Not every kernel knows every switch (UFO is gone); what is not there need not be off.
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
