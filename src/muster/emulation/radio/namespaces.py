"""Network namespaces, one a node, held by open descriptors of one process, the forwarder.

Nothing is mounted and nothing has a name outside: the forwarder has a network namespace of its own, where the
outer ends of all nodes' veths are, so that any number of emulations run side by side and the machine's own
network is never touched.  When the forwarder is gone, however it went, so are its namespaces.

As root this needs nothing else; as an ordinary user the forwarder makes itself a user namespace, where the
machine allows that.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from muster.emulation.radio import netlink
from muster.errors import MusterError

INTERFACE = "radio0"  # the node's end
MTU_BYTES = 1500
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_DUMPABLE = 4
_SWEEPS = 5

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class NodeSpace:
    """A node's namespace: `fd` is the descriptor that holds it, `outer` the veth end in the forwarder's."""

    fd: int
    outer: str
    address: str
    mac: bytes


def address_of(number: int) -> str:
    """The node's IPv4 address in the flat 10.77.0.0/16 (numbers from 0)."""
    return f"10.77.{(number + 1) >> 8}.{(number + 1) & 255}"


def mac_of(number: int) -> bytes:
    """02:4d:75:00 (locally administered) and the number in two bytes."""
    return b"\x02\x4d\x75\x00" + number.to_bytes(2, "big")


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def enter_namespace() -> bool:
    """Moves this (single-threaded) process into new namespaces; True when a user namespace was needed.

    Raises MusterError no_namespaces.
    """
    try:
        if _libc.unshare(_CLONE_NEWNET) == 0:
            netlink.set_up("lo")
            return False
        user, group = os.geteuid(), os.getegid()
        _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET), "a user namespace is refused")
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        # Gaining rights made this process unreadable; the programs that enter must find its descriptors.
        _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        netlink.set_up("lo")
        return True
    except OSError as error:
        raise MusterError(
            "no_namespaces",
            f"this machine does not let this user make network namespaces ({error.strerror}); run as root, "
            "allow unprivileged user namespaces, or use the loopback emulation",
        ) from error


def _quiet() -> None:
    """No IPv6 in this namespace (its discovery would be noise); the radio carries IPv4 only anyway."""
    for part in ("all", "default"):
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{part}/disable_ipv6").write_text("1")


def make_nodes(count: int) -> list[NodeSpace]:
    """One namespace a node with `radio0` up, all nodes' addresses known; call `enter_namespace` first.

    Every node has a permanent neighbour entry for every other, so that a link that is added later works and
    no ARP goes over narrow links; who hears whom is the radio's matter.
    """
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    spaces: list[NodeSpace] = []
    everyone = [(address_of(number), mac_of(number)) for number in range(count)]
    try:
        _quiet()
        for number, (address, mac) in enumerate(everyone):
            _check(_libc.unshare(_CLONE_NEWNET), "a network namespace is refused")
            fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            _quiet()
            _check(_libc.setns(own, _CLONE_NEWNET), "cannot return to the forwarder's namespace")
            space = NodeSpace(fd, f"n{number}", address, mac)
            netlink.add_veth(space.outer, INTERFACE, mac, fd, MTU_BYTES)
            netlink.offloads_off(space.outer)
            netlink.set_up(space.outer)
            _check(_libc.setns(fd, _CLONE_NEWNET), "cannot enter a node")
            _furnish(space, [entry for entry in everyone if entry[1] != mac])
            _check(_libc.setns(own, _CLONE_NEWNET), "cannot return to the forwarder's namespace")
            spaces.append(space)
    except OSError as error:
        raise MusterError("no_namespaces", f"the emulated network cannot be built: {error}") from error
    finally:
        os.close(own)
    return spaces


def _furnish(space: NodeSpace, others: list[tuple[str, bytes]]) -> None:
    netlink.set_up("lo")
    netlink.offloads_off(INTERFACE)
    netlink.set_up(INTERFACE)
    netlink.add_address(INTERFACE, space.address, 16)
    netlink.add_multicast_route(INTERFACE)
    netlink.add_neighbours(INTERFACE, others)


def inhabitants(spaces: list[NodeSpace]) -> list[int]:
    """Ids of the processes that live in the nodes' namespaces."""
    inodes = {os.fstat(space.fd).st_ino for space in spaces}
    found: list[int] = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                    found.append(int(entry))
    return found


def sweep(spaces: list[NodeSpace]) -> None:
    """Ends every process in the nodes' namespaces, also those that their parents left behind."""
    for _ in range(_SWEEPS):  # a process may fork while it is looked for
        left = inhabitants(spaces)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
