"""Taking a UDP port back from what a closed session left behind in this process.

The engine's QUIC sockets outlive their session until its dying connections are through: three probe
timeouts, which have doubled all the while that nothing came back (measured after a cut: up to 40 s), or the
idle time of a handshake that stays half open.  Until then nobody can reach the node on its port.

A descriptor is not closed under the engine's hands: it is made to mean an unbound socket (dup2), so that the
engine's own close comes to the right one.  That socket does not block: the engine may read from it once more,
and its thread would be lost to all links of this process.  Linux only; elsewhere the port becomes free when
it does.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat

_DESCRIPTORS = "/proc/self/fd"


def take_back(host: str, port: int) -> int:
    """Unbind every UDP socket of this process from `host` (an address) and `port`; how many there were.

    Only for a port whose session is closed: a live socket on it goes deaf.
    """
    try:
        wanted = ipaddress.ip_address(host)
        descriptors = [int(name) for name in os.listdir(_DESCRIPTORS)]
    except (OSError, ValueError):  # another system, or a host by its name
        return 0
    taken = 0
    for descriptor in descriptors:
        with contextlib.suppress(OSError, ValueError):  # closed meanwhile, or of no known kind
            before = os.fstat(descriptor)
            if stat.S_ISSOCK(before.st_mode) and _bound(descriptor, wanted, port):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as blank:
                    blank.setblocking(False)
                    # The engine may have closed it, and something else have its number.
                    if os.path.samestat(os.fstat(descriptor), before):
                        os.dup2(blank.fileno(), descriptor, inheritable=False)
                        taken += 1
    return taken


def _bound(descriptor: int, wanted: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as same:
        if same.type != socket.SOCK_DGRAM or same.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        name = same.getsockname()
        return bool(name[1] == port and ipaddress.ip_address(name[0].partition("%")[0]) == wanted)
