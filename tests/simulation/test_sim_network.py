from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from muster.network.transport.link import Refused, Unreachable, Urgency
from muster.protocol.ids import NodeId
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.link import SimLink
from muster.simulation.virtual.network import SimNetwork, Timing
from muster.simulation.virtual.pipe import PathParams

A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))
TIMING = Timing(lease_s=10.0, connect_s=0.5)


def now() -> float:
    return asyncio.get_running_loop().time()


async def echo(node: NodeId, payload: bytes) -> bytes:
    return payload


def with_pair(
    scene: Callable[[SimNetwork, SimLink, SimLink], Awaitable[None]],
    params: PathParams | None = None,
    seed: int = 1,
) -> None:
    """Run `scene` with A and B up and B serving "echo"."""

    async def main() -> None:
        network = SimNetwork(random.Random(seed), TIMING)
        a, b = network.link(A, "alpha"), network.link(B, "beta")
        network.connect(A, B, params)
        b.serve("echo", echo)
        await a.start()
        await b.start()
        await asyncio.sleep(2)
        await scene(network, a, b)

    run(main(), until_s=3600)


def test_neighbours_come_and_go() -> None:
    async def main() -> None:
        network = SimNetwork(random.Random(1), TIMING)
        network.connect(A, B)
        a, b = network.link(A, "alpha"), network.link(B, "beta")
        seen: list[tuple[NodeId, bool]] = []
        a.watch(lambda node, up: seen.append((node, up)))
        await a.start()
        await asyncio.sleep(5)
        assert a.neighbours() == {}
        await b.start()
        assert a.neighbours() == {}
        await asyncio.sleep(1)
        assert a.neighbours()[B].name == "beta"
        assert 5.5 <= a.neighbours()[B].since_s <= 6
        network.cut(A, B)
        await asyncio.sleep(9.9)
        assert B in a.neighbours()
        await asyncio.sleep(2.2)
        assert a.neighbours() == {}
        assert b.neighbours() == {}
        network.heal(A, B)
        await asyncio.sleep(1.1)
        assert set(b.neighbours()) == {A}
        await b.close()
        assert a.neighbours() == {}
        assert seen == [(B, True), (B, False), (B, True), (B, False)]
        again = network.link(B, "beta")
        await again.start()
        await asyncio.sleep(1.1)
        assert set(a.neighbours()) == {B}

    run(main())


def test_an_ask_takes_rate_and_delay() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        start_s = now()
        assert await a.ask(B, "echo", bytes(936), timeout_s=10) == bytes(936)
        # 936 + 4 (topic) + 60 bytes there, 936 + 60 back, at 1000 bytes/s, 0.1 s each way
        assert now() - start_s == pytest.approx(1.0 + 0.996 + 0.2)
        assert network.carried_bytes(A, B) == 1000
        assert network.carried_bytes(B, A) == 996

    with_pair(scene, PathParams(rate_bytes_s=1000, delay_s=0.1))


def test_bytes_wait_for_each_other_and_control_passes_bulk() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        done: list[tuple[str, float]] = []

        async def ask(name: str, size_bytes: int, urgency: Urgency) -> None:
            await a.ask(B, "echo", bytes(size_bytes), timeout_s=1000, urgency=urgency)
            done.append((name, now() - start_s))

        start_s = now()
        async with asyncio.TaskGroup() as group:
            group.create_task(ask("bulk 1", 9936, Urgency.BULK))
            group.create_task(ask("bulk 2", 9936, Urgency.BULK))
            await asyncio.sleep(5)
            group.create_task(ask("control", 36, Urgency.CONTROL))
        assert [name for name, _ in done] == ["control", "bulk 1", "bulk 2"]
        times_s = [time_s for _, time_s in done]
        assert times_s == pytest.approx([5 + 0.1 + 0.096, 10.1 + 9.996, 20.1 + 9.996], abs=0.11)

    with_pair(scene, PathParams(rate_bytes_s=1000, delay_s=0.0))


def test_a_short_cut_only_delays() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        asking = asyncio.create_task(a.ask(B, "echo", bytes(1000), timeout_s=60))
        await asyncio.sleep(0.5)
        network.cut(A, B)
        await asyncio.sleep(5)
        assert not asking.done()
        network.heal(A, B)
        assert await asking == bytes(1000)
        assert network.carried_bytes(A, B) == 1064

    with_pair(scene, PathParams(rate_bytes_s=1000))


def test_a_long_cut_ends_what_is_under_way() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        start_s = now()
        asking = asyncio.create_task(a.ask(B, "echo", bytes(1000), timeout_s=60))
        await asyncio.sleep(0.5)
        network.cut(A, B)
        with pytest.raises(Unreachable):
            await asking
        assert 10 <= now() - start_s <= 12.6
        with pytest.raises(Unreachable):
            await a.ask(B, "echo", b"", timeout_s=60)
        network.heal(A, B)
        await asyncio.sleep(1.1)
        assert await a.ask(B, "echo", b"x", timeout_s=60) == b"x"

    with_pair(scene, PathParams(rate_bytes_s=1000))


def test_a_killed_node_is_noticed_after_a_lease_or_when_it_is_back() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        network.kill(B)
        assert b.neighbours() == {}
        with pytest.raises(Unreachable, match="in time"):
            await a.ask(B, "echo", b"x", timeout_s=3)
        assert B in a.neighbours()
        seen: list[bool] = []
        a.watch(lambda node, up: seen.append(up))
        again = network.link(B, "beta")
        again.serve("echo", echo)
        await again.start()
        await asyncio.sleep(1.1)
        assert seen == [False, True]
        assert await a.ask(B, "echo", b"x", timeout_s=3) == b"x"

    with_pair(scene)


def test_refusals_and_missing_handlers() -> None:
    async def refuse(node: NodeId, payload: bytes) -> bytes:
        raise Refused("not today")

    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        b.serve("no", refuse)
        with pytest.raises(Refused, match="not today"):
            await a.ask(B, "no", b"", timeout_s=5)
        with pytest.raises(Unreachable, match="nobody"):
            await a.ask(B, "what", b"", timeout_s=5)
        with pytest.raises(Unreachable):
            await a.ask(C, "echo", b"", timeout_s=5)

    with_pair(scene)


def test_a_faulty_handler_is_heard_of() -> None:
    async def fail(node: NodeId, payload: bytes) -> bytes:
        raise ZeroDivisionError

    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        b.serve("fail", fail)
        with pytest.raises(Unreachable):
            await a.ask(B, "fail", b"", timeout_s=5)

    with pytest.raises(ZeroDivisionError):
        with_pair(scene)


def test_lost_asks_time_out() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        with pytest.raises(Unreachable, match="in time"):
            await a.ask(B, "echo", b"", timeout_s=5)
        network.set(A, B, PathParams())
        assert await a.ask(B, "echo", b"x", timeout_s=5) == b"x"

    with_pair(scene, PathParams(ask_loss=1.0))


def test_nudges_are_lost_doubled_damaged_and_late() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        heard: list[bytes] = []
        b.listen("n", lambda node, payload: heard.append(payload))

        async def send(params: PathParams) -> list[bytes]:
            network.set(A, B, params)
            heard.clear()
            for number in range(200):
                a.nudge(B, "n", bytes([number]))
            await asyncio.sleep(3)
            return list(heard)

        sent = [bytes([number]) for number in range(200)]
        assert await send(PathParams()) == sent
        assert 60 < len(await send(PathParams(nudge_loss=0.5))) < 140
        assert 260 < len(await send(PathParams(nudge_duplicate=0.5))) < 340
        late = await send(PathParams(nudge_reorder=0.5))
        assert late != sent
        assert sorted(late) == sent
        damaged = await send(PathParams(nudge_corrupt=0.5))
        assert 60 < sum(x != y for x, y in zip(damaged, sent, strict=True)) < 140
        network.cut(A, B)
        assert await send(PathParams()) == []
        a.nudge(C, "n", b"to nobody")

    with_pair(scene)


def test_parameters_of_one_direction_and_rate_changes_while_sending() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        network.set(A, B, PathParams(rate_bytes_s=1000, delay_s=0), one_direction=True)
        assert network.params(B, A).rate_bytes_s == 125_000
        start_s = now()
        asking = asyncio.create_task(a.ask(B, "echo", bytes(9936), timeout_s=60))
        await asyncio.sleep(5)
        network.set(A, B, PathParams(rate_bytes_s=5000, delay_s=0), one_direction=True)
        await asking
        assert now() - start_s == pytest.approx(5 + 1 + 9996 / 125_000, abs=0.02)

    with_pair(scene, PathParams(delay_s=0))


def test_a_full_queue_is_unreachable() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(attempt(a)) for _ in range(40)]
        assert 10 < sum(task.result() for task in tasks) < 35

    async def attempt(a: SimLink) -> bool:
        try:
            await a.ask(B, "echo", bytes(50_000), timeout_s=1)
        except Unreachable as error:
            return "full" not in str(error)
        return True

    with_pair(scene, PathParams(rate_bytes_s=1000))


def test_partitions() -> None:
    async def main() -> None:
        network = SimNetwork(random.Random(1), TIMING)
        links = {node: network.link(node) for node in (A, B, C)}
        for x, y in ((A, B), (B, C), (A, C)):
            network.connect(x, y)
        for link in links.values():
            await link.start()
        await asyncio.sleep(2)
        network.partition([A, B], [C])
        await asyncio.sleep(15)
        assert [set(link.neighbours()) for link in links.values()] == [{B}, {A}, set()]
        network.isolate(A)
        network.heal_all()
        network.isolate(B)
        await asyncio.sleep(15)
        assert [set(link.neighbours()) for link in links.values()] == [{C}, set(), {A}]
        network.rejoin(B)
        await asyncio.sleep(2)
        assert set(links[B].neighbours()) == {A, C}

    run(main())


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    def trace() -> list[tuple[float, bytes]]:
        seen: list[tuple[float, bytes]] = []

        async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
            b.listen("n", lambda node, payload: seen.append((now(), payload)))
            for number in range(50):
                a.nudge(B, "n", bytes([number]))
                await asyncio.sleep(0.1)

        params = PathParams(jitter_s=0.5, nudge_loss=0.2, nudge_reorder=0.2, nudge_duplicate=0.2)
        with_pair(scene, params, seed)
        return seen

    assert trace() == trace()


def test_a_forbidden_node_is_no_neighbour_and_gets_no_answer() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        heard: list[bytes] = []
        a.serve("echo", echo)
        a.listen("word", lambda node, payload: heard.append(payload))
        b.forbid(A, "revoked", b"")
        a.forbid(B, "revoked", b"")
        assert A not in b.neighbours()
        assert B not in a.neighbours()
        with pytest.raises(Unreachable):
            await b.ask(A, "echo", b"", timeout_s=5)
        b.nudge(A, "word", b"hello")
        network.cut(A, B)
        await asyncio.sleep(60)
        network.heal(A, B)
        await asyncio.sleep(60)
        assert B not in a.neighbours()
        assert not heard

    with_pair(scene)


def test_whoever_is_forbidden_asks_and_tells_in_vain() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        heard: list[bytes] = []
        b.listen("word", lambda node, payload: heard.append(payload))
        b.forbid(A, "revoked", b"")
        a.nudge(B, "word", b"hello")
        with pytest.raises(Unreachable):
            await a.ask(B, "echo", b"", timeout_s=5)
        assert not heard

    with_pair(scene)


def test_a_node_with_a_new_session_knows_it_and_its_neighbour_only_when_they_meet_again() -> None:
    async def scene(network: SimNetwork, a: SimLink, b: SimLink) -> None:
        seen: list[tuple[float, bool]] = []
        b.watch(lambda node, up: seen.append((now(), up)))
        under_way = asyncio.ensure_future(a.ask(B, "echo", bytes(20_000), timeout_s=30))
        await asyncio.sleep(0.01)
        began_s = now()
        network.renew(A)
        assert a.neighbours() == {}
        assert set(b.neighbours()) == {A}
        lost = asyncio.ensure_future(b.ask(A, "echo", b"", timeout_s=30))
        for asked in (under_way, lost):
            with pytest.raises(Unreachable):
                await asked
        await asyncio.sleep(0)
        assert set(a.neighbours()) == {B}
        assert [up for _, up in seen] == [False, True]
        assert 0.5 <= seen[-1][0] - began_s <= 1.0
        assert await a.ask(B, "echo", b"again", timeout_s=5) == b"again"

    with_pair(scene, PathParams(rate_bytes_s=1000.0, delay_s=0.1))
