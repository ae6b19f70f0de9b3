"""The process that carries datagrams on loopback: a UDP relay for each direction, shaped by the radio model.

For machines without namespaces.  Node n listens on 127.77.x.y (its number) and the emulation's one port;
node a reaches its neighbour b at 127.78.a.b and the same port, where this process listens, carries the
datagrams by the model of a -> b to b, and b's answers by the model of b -> a back.  b sees them come from
127.78.b.a.  UDP only, no broadcast; a datagram counts as the Ethernet frame that it would be.  It speaks with
the emulator as the forwarder does.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from muster.emulation.radio.medium import CarrierRequests, Medium, Pair, read_setup, remove_leftovers, run

HEADERS_BYTES = 42  # Ethernet 14, IPv4 20, UDP 8: stood for by as many bytes before the datagram
DATAGRAM_BYTES_MAX = 1472  # of a 1500-byte packet
SESSIONS_MAX = 1024  # client sockets remembered; the one unused the longest goes first
MARK = "MUSTER_EMULATION"  # in the environment of every program of an emulation
_DATAGRAMS_A_TURN = 64
_BUFFER_BYTES = 4 * 1024 * 1024
_SWEEPS = 5

Address: TypeAlias = tuple[str, int]


def address_of(number: int) -> str:
    """Where node `number` listens."""
    return f"127.77.{(number + 1) >> 8}.{(number + 1) & 255}"


def seen_by(a: int, b: int) -> str:
    """Where node a reaches node b."""
    return f"127.78.{a + 1}.{b + 1}"


@dataclass
class _Session:
    """One client socket of node a that talks to node b, and the socket that stands for it towards b."""

    number: int
    pair: Pair
    client: Address
    front: socket.socket
    back: socket.socket


class Relay:
    """Sockets and sessions; `sources` maps descriptors to what to do when they are readable."""

    def __init__(self, poll: select.epoll, nodes: int, seed: int, port: int) -> None:
        self.sources: dict[int, partial[None]] = {}
        self.medium = Medium(nodes, seed, self._send, self._listen)
        self._poll = poll
        self._port = port
        self._count = 0
        self._by_client: OrderedDict[tuple[Pair, Address], _Session] = OrderedDict()
        self._by_number: dict[int, _Session] = {}

    def _open(self, host: str, port: int) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        opened.bind((host, port))
        opened.setblocking(False)
        self._poll.register(opened.fileno(), select.EPOLLIN)
        return opened

    def _listen(self, pair: Pair) -> None:
        front = self._open(seen_by(*pair), self._port)
        self.sources[front.fileno()] = partial(self._from_client, pair, front)

    def _session(self, pair: Pair, client: Address, front: socket.socket) -> _Session:
        session = self._by_client.get((pair, client))
        if session is None:
            if len(self._by_client) >= SESSIONS_MAX:
                self._forget(self._by_client.popitem(last=False)[1])
            self._count += 1
            back = self._open(seen_by(pair[1], pair[0]), 0)
            session = _Session(self._count, pair, client, front, back)
            self._by_client[pair, client] = self._by_number[session.number] = session
            self.sources[back.fileno()] = partial(self._from_server, session)
        self._by_client.move_to_end((pair, client))
        return session

    def _forget(self, session: _Session) -> None:
        del self._by_number[session.number]
        del self.sources[session.back.fileno()]
        self._poll.unregister(session.back.fileno())
        session.back.close()

    def _from_client(self, pair: Pair, front: socket.socket) -> None:
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                data, client = front.recvfrom(65536)
            except OSError:
                return
            session = self._session(pair, client, front)
            self._offer(pair, session.number, 0, data)

    def _from_server(self, session: _Session) -> None:
        a, b = session.pair
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                data = session.back.recv(65536)
            except OSError:
                return
            self._offer((b, a), session.number, 1, data)

    def _offer(self, pair: Pair, session: int, answer: int, data: bytes) -> None:
        if len(data) <= DATAGRAM_BYTES_MAX:
            head = session.to_bytes(8, "big") + bytes((answer,))
            self.medium.offer(time.monotonic(), pair, head.ljust(HEADERS_BYTES, b"\0") + data)

    def _send(self, pair: Pair, frame: bytes) -> None:
        session = self._by_number.get(int.from_bytes(frame[:8], "big"))
        if session is None:
            return
        with contextlib.suppress(OSError):  # a full buffer loses, as a card would
            if frame[8]:
                session.front.sendto(frame[HEADERS_BYTES:], session.client)
            else:
                session.back.sendto(frame[HEADERS_BYTES:], (address_of(pair[1]), self._port))


def sweep(marks: set[str]) -> None:
    """Ends every process of this user with one of these marks in its environment."""
    wanted = {f"{MARK}={mark}".encode() for mark in marks}
    for _ in range(_SWEEPS):  # a process may fork while it is looked for
        left: list[int] = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as environ:
                    if not wanted.isdisjoint(environ.read().split(b"\0")):
                        left.append(int(entry))
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def main() -> None:
    """Open the relays that the first line asks for, say so, and carry datagrams."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the emulator decides: its end is this process's end
    channel = socket.socket(fileno=os.dup(0))
    setup = read_setup(channel)
    poll = select.epoll()
    poll.register(channel.fileno(), select.EPOLLIN)
    marks = [f"{setup['mark']}.{number}" for number in range(setup["nodes"])]
    relay = Relay(poll, setup["nodes"], setup["seed"], setup["port"])
    ready = {"number": setup["number"], "user_namespace": False, "fds": []}
    try:
        relay.medium.set_links(setup["links"])
    except OSError as error:
        where = f"UDP port {setup['port']} on loopback cannot be used for the emulated links"
        ready["error"] = f"{where} ({error.strerror}); is another emulation running?"
        channel.sendall(json.dumps(ready).encode() + b"\n")
        return
    channel.sendall(json.dumps(ready).encode() + b"\n")
    gc.freeze()
    gc.disable()
    try:
        requests = CarrierRequests(
            relay.medium, channel, lambda: [0] * setup["nodes"], lambda number: sweep({marks[number]})
        )
        run(relay.medium, relay.sources, requests, poll)
    finally:
        sweep(set(marks))
        remove_leftovers(setup["leftovers"])


if __name__ == "__main__":
    main()
