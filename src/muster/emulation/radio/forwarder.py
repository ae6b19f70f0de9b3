"""The process that holds the nodes' namespaces and carries frames between them by the radio model.

Started by the emulator with a socket as standard input, over which both speak JSON, a line a message.  The
first line is the set-up; then come requests, each answered by one line.  At end of file (the emulator is
gone, however) everything in the nodes' namespaces is ended and the namespaces go with this process.

Frames are read from the nodes' veths by AF_PACKET sockets that take IPv4 only: there is no ARP (neighbours
are permanent) and no IPv6.  A frame's destination MAC names the node; group addresses go to all linked nodes,
IGMP is not carried.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import time
from functools import partial

from muster.emulation.radio.medium import CarrierRequests, Medium, Pair, read_setup, remove_leftovers, run
from muster.emulation.radio.namespaces import NodeSpace, enter_namespace, make_nodes, sweep
from muster.errors import MusterError

_ETH_P_IP = 0x0800
_SO_RCVBUFFORCE = 33
_RECEIVE_BYTES = 8 * 1024 * 1024
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_QDISC_BYPASS = 263, 6, 20
_FRAMES_A_TURN = 64  # from one node, before timers and others get theirs
_FRAME_BYTES_MAX = 65536
_IGMP = 2
_NICENESS = -5


def _open(space: NodeSpace) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
    except OSError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    with contextlib.suppress(OSError):
        opened.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
    opened.bind((space.outer, _ETH_P_IP))
    opened.setblocking(False)
    return opened


def _take(medium: Medium, node: int, source: socket.socket) -> None:
    """Read what a node has sent and hand it to the model."""
    clock = time.monotonic
    for _ in range(_FRAMES_A_TURN):
        try:
            frame = source.recv(_FRAME_BYTES_MAX)
        except OSError:  # nothing more
            return
        if not frame[0] & 1:
            medium.offer(clock(), (node, frame[4] << 8 | frame[5]), frame)
        elif len(frame) > 23 and frame[23] != _IGMP:
            now_s = clock()
            for target in medium.hears(node):
                medium.offer(now_s, (node, target), frame)


class _Missed:
    """Frames that came faster than this process could read them, by node: beyond what it can emulate."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._counts = [0] * len(sockets)

    def __call__(self) -> list[int]:
        for number, opened in enumerate(self._sockets):
            _, missed = struct.unpack("=II", opened.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
            self._counts[number] += missed  # the kernel starts again at each reading
        return list(self._counts)


def main() -> None:
    """Build the network that the first line asks for, say so, and carry frames."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the emulator decides: its end is this process's end
    channel = socket.socket(fileno=os.dup(0))
    setup = read_setup(channel)
    spaces: list[NodeSpace] = []
    try:
        user_namespace = enter_namespace()
        spaces = make_nodes(setup["nodes"])
        sockets = [_open(space) for space in spaces]
    except (MusterError, OSError) as error:
        channel.sendall(json.dumps({"error": str(error), "number": setup["number"]}).encode() + b"\n")
        return
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)

    def send(pair: Pair, frame: bytes) -> None:
        with contextlib.suppress(OSError):  # a veth that is full loses, as a card would
            sockets[pair[1]].send(frame)

    medium = Medium(len(spaces), setup["seed"], send)
    medium.set_links(setup["links"])
    poll = select.epoll()
    sources = {
        opened.fileno(): partial(_take, medium, number, opened) for number, opened in enumerate(sockets)
    }
    for fd in (*sources, channel.fileno()):
        poll.register(fd, select.EPOLLIN)
    ready = {
        "number": setup["number"],
        "user_namespace": user_namespace,
        "fds": [space.fd for space in spaces],
    }
    channel.sendall(json.dumps(ready).encode() + b"\n")
    gc.freeze()
    gc.disable()  # nothing here makes cycles; a pause would be jitter
    try:
        requests = CarrierRequests(medium, channel, _Missed(sockets), lambda number: sweep([spaces[number]]))
        run(medium, sources, requests, poll)
    finally:
        sweep(spaces)
        remove_leftovers(setup["leftovers"])


if __name__ == "__main__":
    main()
