from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import pairwise

from muster.network.supervisor import Pulse
from muster.network.sync.presence import HEARTBEAT_IDLE_S
from muster.network.transport.link import Neighbour, Unreachable
from muster.network.transport.watchdog import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    RENEW_MAX_S,
    TICK_S,
    Decision,
    Sign,
    Timings,
    WatchdogState,
    step,
    watch,
)
from muster.network.transport.zenoh.config import LAN
from muster.protocol.ids import NodeId
from muster.simulation.virtual.event_loop import run

A, B = b"a" * 32, b"b" * 32
TIMINGS = Timings(ping_s=60, again_s=10, silent_s=30, renew_s=15)


def walk(
    up: Mapping[NodeId, Sign], until_s: float, state: WatchdogState | None = None
) -> tuple[WatchdogState, list[tuple[float, Decision]]]:
    """Tick from the state's time to `until_s`; the decisions that were not empty, with their times."""
    state = state or WatchdogState(0.0)
    decisions = []
    while state.ticked_s + TICK_S <= until_s:
        now_s = state.ticked_s + TICK_S
        state, decision = step(state, now_s, up, TIMINGS)
        if decision != Decision():
            decisions.append((now_s, decision))
    return state, decisions


def test_nobody_is_asked_while_something_is_heard() -> None:
    state = WatchdogState(0.0)
    for now in range(2, 600, 2):
        state, decision = step(state, float(now), {A: Sign(now - 1.0)}, TIMINGS)
        assert decision == Decision()


def test_an_idle_link_costs_one_ping_a_period() -> None:
    state, heard, pings = WatchdogState(0.0), 0.0, 0
    for tick in range(1, 300):
        now = tick * TICK_S
        state, decision = step(state, now, {A: Sign(heard)}, TIMINGS)
        if decision.ping:
            pings, heard = pings + 1, now + 0.1  # it answers
        assert not decision.reopen_for
    assert pings == 9  # 600 s, one each 60 s or a tick later


def test_a_zombie_is_reopened_thirty_seconds_after_the_first_ping() -> None:
    _, decisions = walk({A: Sign(0.0)}, 91)
    assert [(now, one.ping, one.reopen_for) for now, one in decisions] == [
        (60, (A,), ()),
        (70, (A,), ()),
        (80, (A,), ()),
        (90, (), (A,)),
    ]


def test_an_unanswered_question_is_followed_up_at_once() -> None:
    _, decisions = walk({A: Sign(0.0, unanswered_s=1.0)}, 33)
    assert decisions[0] == (2.0, Decision(ping=(A,)))
    assert decisions[-1] == (32.0, Decision(reopen_for=(A,)))


def test_a_late_answer_clears_the_debt() -> None:
    state, _ = walk({A: Sign(0.0)}, 80)
    state, decision = step(state, 82.0, {A: Sign(81.0)}, TIMINGS)
    assert decision == Decision()
    assert not state.owing


def test_a_link_that_shows_down_is_left_alone() -> None:
    state, _ = walk({A: Sign(0.0), B: Sign(0.0)}, 80)
    _, decisions = walk({}, 600, state)
    assert decisions == []


def test_one_zombie_among_healthy_neighbours_counts() -> None:
    state, heard, reopened = WatchdogState(0.0), 0.0, []
    for tick in range(1, 50):
        now = tick * TICK_S
        state, decision = step(state, now, {A: Sign(now), B: Sign(heard)}, TIMINGS)
        reopened += [(now, decision.reopen_for)] if decision.reopen_for else []
    assert reopened == [(90.0, (B,))]


def test_reopening_backs_off_and_recovers() -> None:
    state, up = WatchdogState(0.0), {A: Sign(0.0, unanswered_s=1.0)}
    times = []
    while state.ticked_s < 4000:
        state, decision = step(state, state.ticked_s + TICK_S, up, TIMINGS)
        if decision.reopen_for:
            times.append(state.ticked_s)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] <= BACKOFF_MAX_S + TICK_S
    assert state.backoff_s == BACKOFF_MAX_S
    healthy = {A: Sign(1e9)}
    state, _ = walk(healthy, state.ticked_s + 3 * BACKOFF_MAX_S, state)
    assert state.backoff_s == BACKOFF_FIRST_S


def test_after_a_suspension_nobody_owes_anything() -> None:
    state, _ = walk({A: Sign(0.0)}, 80)
    state, decision = step(state, 5000.0, {A: Sign(0.0)}, TIMINGS)
    assert decision == Decision(ping=(A,))
    assert state.owing[A].since_s == 5000.0


def deserted_for(seconds: float, timings: Timings = TIMINGS) -> list[float]:
    """When a node that is deserted from 0 on gets a new session."""
    state, renewed = WatchdogState(0.0), []
    while state.ticked_s < seconds:
        state, decision = step(state, state.ticked_s + TICK_S, {}, timings, deserted=True)
        renewed += [state.ticked_s] if decision.renew else []
    return renewed


def test_a_deserted_node_gets_a_new_listener_often_at_first_and_rarely_later() -> None:
    times = deserted_for(100_000)
    assert times[:4] == [18, 34, 50, 66]  # every 15 s, at a tick, since the first look at 2 s
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == RENEW_MAX_S


def test_whoever_has_a_neighbour_again_is_not_deserted() -> None:
    state = WatchdogState(0.0)
    for _ in range(6):
        state, _ = step(state, state.ticked_s + TICK_S, {}, TIMINGS, deserted=True)
    state, decision = step(state, 14.0, {A: Sign(13.0)}, TIMINGS)
    assert decision == Decision()
    state, _ = step(state, 16.0, {}, TIMINGS, deserted=True)
    for _ in range(7):
        state, decision = step(state, state.ticked_s + TICK_S, {}, TIMINGS, deserted=True)
        assert not decision.renew  # it counts from 16 s, not from 2 s
    _, decision = step(state, 32.0, {}, TIMINGS, deserted=True)
    assert decision.renew


def test_words_of_idle_neighbours_come_often_enough_to_spare_the_pings() -> None:
    state, heard = WatchdogState(0.0), 0.0
    for tick in range(1, 2000):
        now = tick * TICK_S
        if now - heard >= HEARTBEAT_IDLE_S:
            heard = now  # a heartbeat
        state, decision = step(state, now, {A: Sign(heard)}, LAN.watch)
        assert decision == Decision()


class FakeLink:
    """A neighbour that answers pings only while `alive`; reopening helps."""

    def __init__(self, alive: bool) -> None:
        self.alive = alive
        self.heard = 0.0
        self.reopened: list[float] = []
        self.asked: list[float] = []

    def neighbours(self) -> dict[NodeId, Neighbour]:
        return {A: Neighbour(A, "alpha", 0.0)}

    def last_heard(self, node: NodeId) -> float | None:
        return self.heard

    def last_unanswered(self, node: NodeId) -> float | None:
        return None

    def half_open(self) -> bool:
        return False

    async def ask(self, node: NodeId, topic: str, payload: bytes, *, timeout_s: float) -> bytes:
        loop = asyncio.get_running_loop()
        self.asked.append(loop.time())
        if not self.alive:
            await asyncio.sleep(timeout_s)
            raise Unreachable("no answer")
        self.heard = loop.time()
        return b""

    def deserted(self) -> bool:
        return False

    async def renew(self) -> None:
        raise AssertionError("it is not deserted")

    async def reopen(self) -> None:
        self.reopened.append(asyncio.get_running_loop().time())
        self.alive = True


def test_the_task_reopens_a_zombie_once() -> None:
    link = FakeLink(alive=False)

    async def main() -> None:
        task = asyncio.ensure_future(watch(link, lambda: TIMINGS, Pulse()))
        await asyncio.sleep(600)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1  # no ping is left behind

    run(main())
    assert link.reopened == [90.0]


def test_the_task_leaves_a_healthy_link_alone() -> None:
    link = FakeLink(alive=True)

    async def main() -> None:
        task = asyncio.ensure_future(watch(link, lambda: TIMINGS, Pulse()))
        await asyncio.sleep(600)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())
    assert link.reopened == []
    assert 8 <= len(link.asked) <= 10


def test_the_task_renews_the_listener_of_a_deserted_node() -> None:
    renewed: list[float] = []

    class Deserted(FakeLink):
        def neighbours(self) -> dict[NodeId, Neighbour]:
            return {}

        def deserted(self) -> bool:
            return len(renewed) < 2

        async def renew(self) -> None:
            renewed.append(asyncio.get_running_loop().time())

    async def main() -> None:
        task = asyncio.ensure_future(watch(Deserted(alive=True), lambda: TIMINGS, Pulse()))
        await asyncio.sleep(600)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())
    assert renewed == [18.0, 34.0]


def test_half_a_link_is_reopened_at_once_and_then_seldom() -> None:
    state, decision = step(WatchdogState(0.0), 2.0, {A: Sign(2.0)}, LAN.watch, half_open=True)
    assert decision.half_open
    again, decision = step(state, 4.0, {A: Sign(4.0)}, LAN.watch, half_open=True)
    assert not decision.half_open
    _, decision = step(again, 2.0 + BACKOFF_FIRST_S, {A: Sign(30.0)}, LAN.watch, half_open=True)
    assert decision.half_open
