"""The watchdog: a neighbour whose link looks up but delivers nothing is a zombie; only a new session helps.

`step` is the whole decision, a pure function.  Pings are spent sparingly, because an idle link may cost
2.5 kB a minute in all and keep-alives take most of them: any traffic heard counts as a sign of life, a silent
neighbour is asked once in `ping_s`, and only one that owes an answer is asked in close succession.  A
neighbour whose link shows down is left alone: the engine reconnects by itself, and a new session would only
throw its attempts away.

Half a link is a zombie, too: after a cut about as long as the lease one end has lost its session and the
other has not, and the new link joins the old session; so the first never hears the other's token, while the
other goes on talking to it (seen after a cut of 12 s with a lease of 15).  The end that hears a session which
is no neighbour, be it only its heartbeats, opens a new one at once; the other end would need ping_s and
silent_s.

A link that is down is left alone with one exception: a node that had neighbours and has none now gets a new
session every `renew_s`.  The engine's QUIC listener takes one handshake at a time and has no limit of its
own for it (zenoh 1.10.2, `accept_task` in zenoh-link-commons/src/quic/unicast.rs; zenoh issue 2719, a part of
it mended by pull request 2805, open as of 1.10.2): a handshake of which a bad spell left one half keeps
everybody out for QUIC's idle time of 30 s, and several do so one after the other.  A new listener has
forgotten them, and with nobody in reach nothing is lost by it (docs/notes/2026-11-23-soak.md).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from muster.network.supervisor import Pulse
from muster.network.transport.link import Neighbour, Refused, Unreachable
from muster.protocol.ids import NodeId

PING_TOPIC = "p"
TICK_S = 2.0
REOPEN_S = 60.0  # that a new session may take before the watchdog counts as late
BACKOFF_FIRST_S = 30.0
BACKOFF_MAX_S = 600.0
RENEW_MAX_S = 300.0  # between two new sessions of a deserted node ...
_RENEW_SHARE = 0.125  # ... which come the less often the longer it is deserted
_ASLEEP_S = 10.0  # between two ticks: the process or the machine was suspended, so nobody owes anything


@dataclass(frozen=True)
class Timings:
    """When to ask, and when to stop believing."""

    ping_s: float  # a silent neighbour is asked this often
    again_s: float  # one that owes an answer, this often
    silent_s: float  # so long after the first unanswered request its link counts as dead
    renew_s: float  # a deserted node opens its session again this often at first; more than a handshake takes


@dataclass(frozen=True)
class Sign:
    """What the link knows of a neighbour that is up, as loop times."""

    heard_s: float  # the last message of any kind from it
    unanswered_s: float | None = None  # the last request that it left unanswered; None: never


@dataclass(frozen=True)
class Owing:
    """A neighbour owes an answer since `since_s`; it was last asked at `asked_s`."""

    since_s: float
    asked_s: float


@dataclass(frozen=True)
class WatchdogState:
    """What is remembered from one look to the next, as loop times."""

    ticked_s: float
    owing: Mapping[NodeId, Owing] = field(default_factory=dict)
    not_before_s: float = 0.0  # of the next reopening
    backoff_s: float = BACKOFF_FIRST_S
    deserted_s: float | None = None  # since when
    renewed_s: float = 0.0  # the last new session for that


@dataclass(frozen=True)
class Decision:
    """What to do now: nothing, by default."""

    ping: tuple[NodeId, ...] = ()
    reopen_for: tuple[NodeId, ...] = ()  # the zombies
    half_open: bool = False  # or for the sake of half a link
    renew: bool = False


def step(
    state: WatchdogState,
    now_s: float,
    up: Mapping[NodeId, Sign],
    timings: Timings,
    deserted: bool = False,
    half_open: bool = False,
) -> tuple[WatchdogState, Decision]:
    """One look at the neighbours that are up: whom to ping, and whether the session must be reopened."""
    if half_open and now_s >= state.not_before_s:
        return _later(state, now_s), Decision(half_open=True)
    if deserted and not up:
        return _alone(state, now_s, timings)
    state = replace(state, deserted_s=None)
    if now_s - state.ticked_s > _ASLEEP_S:
        state = replace(state, owing={})
    owing: dict[NodeId, Owing] = {}
    ping = []
    for node, sign in up.items():
        owed = state.owing.get(node)
        if owed is not None and sign.heard_s >= owed.since_s:
            owed = None
        doubtful = sign.unanswered_s is not None and sign.unanswered_s > sign.heard_s
        if owed is None:
            if doubtful or now_s - sign.heard_s >= timings.ping_s:
                owing[node] = Owing(now_s, now_s)
                ping.append(node)
        elif now_s - owed.asked_s >= timings.again_s:
            owing[node] = replace(owed, asked_s=now_s)
            ping.append(node)
        else:
            owing[node] = owed
    zombies = tuple(node for node, owed in owing.items() if now_s - owed.since_s >= timings.silent_s)
    if zombies and now_s >= state.not_before_s:
        return _later(state, now_s), Decision(reopen_for=zombies)
    backoff_s = state.backoff_s
    if up and not zombies and now_s >= state.not_before_s + state.backoff_s:
        backoff_s = BACKOFF_FIRST_S  # it went well for long enough
    return replace(state, ticked_s=now_s, owing=owing, backoff_s=backoff_s), Decision(tuple(ping))


def _later(state: WatchdogState, now_s: float) -> WatchdogState:
    """After a reopening the next one has to wait."""
    return WatchdogState(now_s, {}, now_s + state.backoff_s, min(2 * state.backoff_s, BACKOFF_MAX_S))


def _alone(state: WatchdogState, now_s: float, timings: Timings) -> tuple[WatchdogState, Decision]:
    if state.deserted_s is None:
        state = replace(state, deserted_s=now_s, renewed_s=now_s)
    assert state.deserted_s is not None
    pause_s = min(RENEW_MAX_S, max(timings.renew_s, _RENEW_SHARE * (now_s - state.deserted_s)))
    renew = now_s - state.renewed_s >= pause_s
    renewed_s = now_s if renew else state.renewed_s
    return replace(state, ticked_s=now_s, owing={}, renewed_s=renewed_s), Decision(renew=renew)


class Watched(Protocol):
    """What the watchdog needs of a link."""

    def neighbours(self) -> dict[NodeId, Neighbour]: ...

    def last_heard(self, node: NodeId) -> float | None: ...

    def last_unanswered(self, node: NodeId) -> float | None: ...

    def deserted(self) -> bool:
        """Whether it had neighbours and has none now."""

    def half_open(self) -> bool:
        """Whether a session talks to this node that is none of its neighbours."""

    async def ask(self, node: NodeId, topic: str, payload: bytes, *, timeout_s: float) -> bytes: ...

    async def reopen(self) -> None:
        """Close within a time limit, open again, because of a zombie."""

    async def renew(self) -> None:
        """The same, because this node is deserted."""


async def watch(link: Watched, current: Callable[[], Timings], pulse: Pulse) -> None:
    """Look every `TICK_S` for ever; cancel to stop. The link must serve `PING_TOPIC` (any answer will do)."""
    loop = asyncio.get_running_loop()
    state = WatchdogState(loop.time(), not_before_s=loop.time())
    pings: set[asyncio.Task[None]] = set()  # at most silent_s / again_s + 1 for each neighbour

    async def ping(node: NodeId) -> None:
        with contextlib.suppress(Unreachable, Refused):  # the link notes what it heard: that is what counts
            await link.ask(node, PING_TOPIC, b"", timeout_s=current().silent_s)

    try:
        while True:
            pulse.renew(TICK_S)
            await asyncio.sleep(TICK_S)
            up = {
                node: Sign(max(neighbour.since_s, link.last_heard(node) or 0.0), link.last_unanswered(node))
                for node, neighbour in link.neighbours().items()
            }
            state, decision = step(state, loop.time(), up, current(), link.deserted(), link.half_open())
            for node in decision.ping:
                task = loop.create_task(ping(node))
                pings.add(task)
                task.add_done_callback(pings.discard)
            pulse.renew(REOPEN_S)
            if decision.reopen_for or decision.half_open:
                await link.reopen()
            elif decision.renew:
                await link.renew()
                state = replace(state, renewed_s=loop.time())  # closing takes as long as dialling, up to 10 s
    finally:
        for task in pings:
            task.cancel()
