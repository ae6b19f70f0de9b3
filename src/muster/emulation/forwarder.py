"""The air: the process that holds the nodes' namespaces and carries frames between them by the radio model.

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
import heapq
import json
import os
import select
import signal
import socket
import sys
import time
from random import Random
from typing import Any

import msgspec

from muster.emulation.namespaces import NodeSpace, enter_air, make_nodes, sweep
from muster.emulation.radio import Channel, Direction, LinkParams, fault_in
from muster.errors import MusterError

_ETH_P_IP = 0x0800
_SO_RCVBUFFORCE = 33
_RECEIVE_BYTES = 8 * 1024 * 1024
_PACKET_QDISC_BYPASS = 20
_FRAMES_A_TURN = 64  # from one node, before timers and others get theirs
_FRAME_BYTES_MAX = 65536
_LINE_BYTES_MAX = 16 * 1024 * 1024
_IGMP = 2
_NICENESS = -5


def _open(space: NodeSpace) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
    except OSError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    with contextlib.suppress(OSError):
        opened.setsockopt(263, _PACKET_QDISC_BYPASS, 1)  # SOL_PACKET
    opened.bind((space.outer, _ETH_P_IP))
    opened.setblocking(False)
    return opened


class Air:
    """Directions between node numbers, their timers, and the sockets."""

    def __init__(self, sockets: list[socket.socket], seed: int) -> None:
        self._sockets = sockets
        self._seed = seed
        self._directions: dict[tuple[int, int], Direction] = {}
        self._wanted: dict[tuple[int, int], LinkParams] = {}
        self._hears: list[list[int]] = [[] for _ in sockets]
        self._channels: dict[str, Channel] = {}
        self._away: set[int] = set()
        self._timers: list[tuple[float, tuple[int, int]]] = []
        self._armed: dict[tuple[int, int], float] = {}

    def set_link(self, now_s: float, a: int, b: int, params: LinkParams) -> None:
        """Give the direction a -> b these parameters; makes it if there is none."""
        pair = (a, b)
        self._wanted[pair] = params
        if pair not in self._directions:
            # A key per direction: what one link draws does not depend on another's traffic.
            rng = Random(f"{self._seed}:{a}:{b}")
            channel = self._channels.setdefault(params.channel, Channel()) if params.channel else Channel()
            self._directions[pair] = Direction(params, channel, rng)
            self._hears[a].append(b)
        self._apply(now_s, pair)

    def set_away(self, now_s: float, node: int, away: bool) -> None:
        (self._away.add if away else self._away.discard)(node)
        for pair in self._directions:
            if node in pair:
                self._apply(now_s, pair)

    def _apply(self, now_s: float, pair: tuple[int, int]) -> None:
        wanted = self._wanted[pair]
        up = wanted.up and self._away.isdisjoint(pair)
        direction = self._directions[pair]
        params = wanted if wanted.up == up else msgspec.structs.replace(wanted, up=up)
        if params != direction.params:
            direction.change(now_s, params)
            self._arm(pair, direction)

    def _arm(self, pair: tuple[int, int], direction: Direction) -> None:
        next_s = direction.next_s()
        if next_s is None:
            self._armed.pop(pair, None)
        elif self._armed.get(pair) != next_s:
            self._armed[pair] = next_s
            heapq.heappush(self._timers, (next_s, pair))

    def links(self) -> list[dict[str, Any]]:
        return [
            {
                "a": a,
                "b": b,
                "params": msgspec.to_builtins(self._wanted[a, b]),
                "on_air": direction.params.up,
                "count": msgspec.to_builtins(direction.count()),
            }
            for (a, b), direction in self._directions.items()
        ]

    def take(self, node: int) -> None:
        """Read what a node has sent and hand it to the model."""
        receive = self._sockets[node].recv
        directions, armed = self._directions, self._armed
        clock = time.monotonic
        for _ in range(_FRAMES_A_TURN):
            try:
                frame = receive(_FRAME_BYTES_MAX)
            except OSError:  # nothing more
                return
            if frame[0] & 1:
                if len(frame) > 23 and frame[23] == _IGMP:
                    continue
                targets = self._hears[node]
            else:
                targets = [frame[4] << 8 | frame[5]]
            now_s = clock()
            for target in targets:
                pair = (node, target)
                direction = directions.get(pair)
                if direction is not None and direction.offer(now_s, frame) and pair not in armed:
                    self._arm(pair, direction)

    def deliver_due(self) -> float:
        """Hand over what has arrived; seconds until there is more to do."""
        timers, armed = self._timers, self._armed
        clock = time.monotonic
        while timers:
            now_s = clock()
            due_s, pair = timers[0]
            if due_s > now_s:
                return due_s - now_s
            heapq.heappop(timers)
            if armed.get(pair) != due_s:
                continue  # the direction was changed since
            del armed[pair]
            direction = self._directions[pair]
            send = self._sockets[pair[1]].send
            for frame in direction.deliver(now_s):
                with contextlib.suppress(OSError):  # a veth that is full loses, as a card would
                    send(frame)
            self._arm(pair, direction)
        return 1.0


class _Requests:
    """The emulator's side of the socket: complete lines in, answers out."""

    def __init__(self, air: Air, channel: socket.socket) -> None:
        self._air = air
        self._channel = channel
        self._buffer = b""

    def read(self) -> bool:
        """Answer what has come; False at end of file."""
        try:
            data = self._channel.recv(65536)
        except OSError:
            return False
        self._buffer += data
        if not data or len(self._buffer) > _LINE_BYTES_MAX:
            return False
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            try:
                answer = self._answer(json.loads(line))
            except (ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
                answer = {"error": f"this request cannot be carried out: {error}"}
            with contextlib.suppress(OSError):
                self._channel.sendall(json.dumps(answer).encode() + b"\n")
        return True

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        now_s = time.monotonic()
        match request["do"]:
            case "links":
                return {"links": self._air.links()}
            case "set":
                changes = [(a, b, msgspec.convert(raw, LinkParams)) for a, b, raw in request["links"]]
                for _, _, params in changes:
                    wrong = fault_in(params)
                    if wrong:
                        return {"error": wrong}
                for a, b, params in changes:
                    self._air.set_link(now_s, a, b, params)
                return {}
            case "away":
                self._air.set_away(now_s, request["node"], request["away"])
                return {}
            case other:
                return {"error": f"unknown request {other!r}"}


def run(air: Air, sockets: list[socket.socket], channel: socket.socket) -> None:
    """Carry frames until the emulator is gone."""
    poll = select.epoll()
    numbers = {opened.fileno(): number for number, opened in enumerate(sockets)}
    for fd in numbers:
        poll.register(fd, select.EPOLLIN)
    poll.register(channel.fileno(), select.EPOLLIN)
    requests = _Requests(air, channel)
    waiting = [poll]
    while True:
        # epoll counts in milliseconds; select, waiting for the epoll itself, in microseconds.
        select.select(waiting, (), (), air.deliver_due())
        for fd, _ in poll.poll(0):
            if fd in numbers:
                air.take(numbers[fd])
            elif not requests.read():
                return


def _read_line(channel: socket.socket) -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        data = channel.recv(65536)
        if not data or len(line) > _LINE_BYTES_MAX:
            sys.exit(0)
        line += data
    value: dict[str, Any] = json.loads(line)
    return value


def main() -> None:
    """Build the network that the first line asks for, say so, and carry frames."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the emulator decides: its end is this process's end
    channel = socket.socket(fileno=os.dup(0))
    setup = _read_line(channel)
    spaces: list[NodeSpace] = []
    try:
        user_namespace = enter_air()
        spaces = make_nodes(setup["nodes"])
        sockets = [_open(space) for space in spaces]
    except (MusterError, OSError) as error:
        channel.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
        return
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    air = Air(sockets, setup["seed"])
    now_s = time.monotonic()
    for a, b, raw in setup["links"]:
        air.set_link(now_s, a, b, msgspec.convert(raw, LinkParams))
    ready = {"user_namespace": user_namespace, "fds": [space.fd for space in spaces]}
    channel.sendall(json.dumps(ready).encode() + b"\n")
    gc.freeze()
    gc.disable()  # nothing here makes cycles; a pause would be jitter
    try:
        run(air, sockets, channel)
    finally:
        sweep(spaces)
        for path in setup["leftovers"]:  # what the emulator would have removed itself
            with contextlib.suppress(OSError):
                os.unlink(path)


if __name__ == "__main__":
    main()
