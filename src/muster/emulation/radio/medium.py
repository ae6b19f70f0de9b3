"""What the forwarder and the relay share: the timers of all directions, and the emulator's requests."""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TypeAlias

import msgspec

from muster.emulation.radio.model import Channel, Direction, LinkParams, fault_in

LINE_BYTES_MAX = 16 * 1024 * 1024

Pair: TypeAlias = tuple[int, int]  # numbers of nodes: from, to
Send: TypeAlias = Callable[[Pair, bytes], None]


class Medium:
    """Directions between node numbers and their timers; `send` hands over a frame that has arrived."""

    def __init__(
        self, nodes: int, seed: int, send: Send, added: Callable[[Pair], None] | None = None
    ) -> None:
        self._added = added
        self._send = send
        self._seed = seed
        self._directions: dict[Pair, Direction] = {}
        self._wanted: dict[Pair, LinkParams] = {}
        self._hears: list[list[int]] = [[] for _ in range(nodes)]
        self._channels: dict[str, Channel] = {}
        self._away: set[int] = set()
        self._timers: list[tuple[float, Pair]] = []
        self._armed: dict[Pair, float] = {}

    def set_link(self, now_s: float, a: int, b: int, params: LinkParams) -> None:
        """Give the direction a -> b these parameters; makes it if there is none."""
        pair = (a, b)
        self._wanted[pair] = params
        if pair not in self._directions:
            if self._added is not None:
                self._added(pair)
            # A key per direction: what one link draws does not depend on another's traffic.
            rng = Random(f"{self._seed}:{a}:{b}")
            channel = self._channels.setdefault(params.channel, Channel()) if params.channel else Channel()
            self._directions[pair] = Direction(params, channel, rng, now_s)
            self._hears[a].append(b)
        self._apply(now_s, pair)

    def set_links(self, links: list[list[Any]]) -> None:
        """The links of the set-up line: from, to, parameters as plain values."""
        for a, b, raw in links:
            self.set_link(time.monotonic(), a, b, msgspec.convert(raw, LinkParams))

    def set_away(self, now_s: float, node: int, away: bool) -> None:
        """Switch a node's radio off or on."""
        (self._away.add if away else self._away.discard)(node)
        for pair in self._directions:
            if node in pair:
                self._apply(now_s, pair)

    def _apply(self, now_s: float, pair: Pair) -> None:
        wanted = self._wanted[pair]
        up = wanted.up and self._away.isdisjoint(pair)
        direction = self._directions[pair]
        params = wanted if wanted.up == up else msgspec.structs.replace(wanted, up=up)
        if params != direction.params:
            direction.change(now_s, params)
            self._arm(pair, direction)

    def _arm(self, pair: Pair, direction: Direction) -> None:
        next_s = direction.next_s()
        if next_s is None:
            self._armed.pop(pair, None)
        elif self._armed.get(pair) != next_s:
            self._armed[pair] = next_s
            heapq.heappush(self._timers, (next_s, pair))

    def links(self) -> list[dict[str, Any]]:
        """A row a direction, as plain values: parameters, whether it is up, counters."""
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

    def bad_spells(self, now_s: float, since_s: float) -> list[tuple[int, int, dict[str, Any]]]:
        """Of each direction with bursts: from, to, `BadSpells`."""
        return [
            (a, b, msgspec.to_builtins(direction.bad_spells(now_s, since_s)))
            for (a, b), direction in self._directions.items()
            if direction.params.burst is not None
        ]

    def hears(self, node: int) -> list[int]:
        """The nodes that have a link from `node`."""
        return self._hears[node]

    def offer(self, now_s: float, pair: Pair, frame: bytes) -> None:
        """A node hands its radio a frame for another; without a link it is lost."""
        direction = self._directions.get(pair)
        if direction is not None and direction.offer(now_s, frame) and pair not in self._armed:
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
            for frame in direction.deliver(now_s):
                self._send(pair, frame)
            self._arm(pair, direction)
        return 1.0


class CarrierRequests:
    """The emulator's side of the socket: complete lines in, answers out."""

    def __init__(
        self,
        medium: Medium,
        channel: socket.socket,
        missed: Callable[[], list[int]],
        sweep: Callable[[int], None],
    ) -> None:
        self._missed = missed
        self._sweep = sweep
        self._medium = medium
        self._channel = channel
        self._buffer = b""

    def read(self) -> bool:
        """Answer what has come; False at end of file."""
        try:
            data = self._channel.recv(65536)
        except OSError:
            return False
        self._buffer += data
        if not data or len(self._buffer) > LINE_BYTES_MAX:
            return False
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            request = json.loads(line)
            try:
                answer = self._answer(request)
            except (ValueError, LookupError, TypeError, OSError, msgspec.ValidationError) as error:
                answer = {"error": f"this request cannot be carried out: {error}"}
            answer["number"] = request["number"]
            with contextlib.suppress(OSError):
                self._channel.sendall(json.dumps(answer).encode() + b"\n")
        return True

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        now_s = time.monotonic()
        match request["do"]:
            case "links":
                return {"links": self._medium.links(), "missed": self._missed()}
            case "spells":
                return {"spells": self._medium.bad_spells(now_s, float(request["since_s"]))}
            case "set":
                changes = [(a, b, msgspec.convert(raw, LinkParams)) for a, b, raw in request["links"]]
                for _, _, params in changes:
                    wrong = fault_in(params)
                    if wrong:
                        return {"error": wrong}
                for a, b, params in changes:
                    self._medium.set_link(now_s, a, b, params)
                return {}
            case "away":
                self._medium.set_away(now_s, request["node"], request["away"])
                return {}
            case "sweep":
                self._sweep(request["node"])
                return {}
            case other:
                return {"error": f"unknown request {other!r}"}


def run(
    medium: Medium, sources: Mapping[int, Callable[[], None]], requests: CarrierRequests, poll: select.epoll
) -> None:
    """Carry frames until the emulator is gone. `sources`: what to do when a descriptor is readable."""
    waiting = [poll]
    while True:
        # epoll counts in milliseconds; select, waiting for the epoll itself, in microseconds.
        select.select(waiting, (), (), medium.deliver_due())
        for fd, _ in poll.poll(0):
            take = sources.get(fd)
            if take is not None:
                take()
            elif not requests.read():
                return


def read_setup(channel: socket.socket) -> dict[str, Any]:
    """The emulator's first line; ends the process when there is none."""
    line = b""
    while not line.endswith(b"\n"):
        data = channel.recv(65536)
        if not data or len(line) > LINE_BYTES_MAX:
            sys.exit(0)
        line += data
    value: dict[str, Any] = json.loads(line)
    return value


def remove_leftovers(paths: list[str]) -> None:
    """Remove the sockets of an emulator that was killed, unless another already listens there."""
    for path in paths:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial, contextlib.suppress(OSError):
            if trial.connect_ex(path):
                os.unlink(path)
