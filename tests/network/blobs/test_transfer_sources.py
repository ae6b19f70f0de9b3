"""Which neighbours a blob is asked of, and when they are asked again."""

from __future__ import annotations

import asyncio

from bulk_world import FAST, World, data_of, ident, kbit, now, play

from muster.network.blobs.limits import TransferLimits
from muster.simulation.virtual.pipe import PathParams


def test_it_goes_on_from_another_peer() -> None:
    blob, data = data_of(400_000)

    async def scene(world: World) -> None:
        a, b, c = (world.nodes[name] for name in "abc")
        a.store.put_blob(data)
        c.hints[blob] = [a.id]
        fetch = asyncio.create_task(c.transfers.fetch(blob, len(data)))
        await asyncio.sleep(6)
        status = c.transfers.status(blob)
        assert status is not None
        held_bytes = status.held_bytes
        assert held_bytes > 100_000
        await world.kill("a")
        b.store.put_blob(data)
        await asyncio.sleep(15)
        await fetch
        assert world.carried("b", "c") < 1.05 * (len(data) - held_bytes)

    play("a-c b-c", kbit(256), scene)


def test_a_slow_neighbour_does_not_hold_up_a_fast_one() -> None:
    slow, slow_data = data_of(100_000, 1)
    fast, fast_data = data_of(1_000_000, 2)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(slow_data)
        world.nodes["b"].store.put_blob(fast_data)
        c = world.nodes["c"]
        start_s = now()
        slow_task = asyncio.create_task(c.transfers.fetch(slow, len(slow_data)))
        await c.transfers.fetch(fast, len(fast_data), rank=5)
        assert now() - start_s < 1.15 * len(fast_data) / 125_000
        await slow_task

    play("a-c b-c", {"a-c": kbit(20), "b-c": FAST}, scene)


def test_several_sources_share_the_work_by_their_speed() -> None:
    blob, data = data_of(1_000_000)

    async def scene(world: World) -> None:
        for name in "ab":
            world.nodes[name].store.put_blob(data)
        start_s = now()
        await world.nodes["c"].transfers.fetch(blob, len(data))
        # 1000 + 256 kbit/s together: 6.4 s
        assert now() - start_s < 7.3
        assert world.carried("a", "c") + world.carried("b", "c") < 1.06 * len(data)
        assert world.carried("b", "c") > 0.12 * len(data)

    play("a-c b-c", {"a-c": FAST, "b-c": kbit(256)}, scene)


def test_nobody_has_it_and_it_is_quiet_until_somebody_has() -> None:
    blob, data = data_of(50_000)

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(60)
        before = world.carried("b", "a")
        await asyncio.sleep(600)
        assert world.carried("b", "a") - before < 600 * 5  # bytes a second: a question a minute
        a.store.put_blob(data)
        b.hints[blob] = [a.id]
        start_s = now()
        b.transfers.poke()
        await fetch
        assert now() - start_s < 2

    play("a-b", FAST, scene)


def test_a_new_neighbour_that_has_it_is_asked_at_once() -> None:
    blob, data = data_of(50_000)

    async def scene(world: World) -> None:
        fetch = asyncio.create_task(world.nodes["b"].transfers.fetch(blob, len(data)))
        await asyncio.sleep(500)
        world.nodes["c"].store.put_blob(data)
        world.connect("b", "c", FAST)
        start_s = now()
        await fetch
        assert now() - start_s < 3

    async def prepare(world: World) -> None:
        await world.add("c")
        await scene(world)

    play("a-b", FAST, prepare)


def test_two_that_wait_for_each_other_both_get_it() -> None:
    blob, data = data_of(80_000)

    async def scene(world: World) -> None:
        b, c = world.nodes["b"], world.nodes["c"]
        for node in (b, c):
            node.hints[blob] = [b.id if node is c else c.id]
        tasks = [asyncio.create_task(node.transfers.fetch(blob, len(data))) for node in (b, c)]
        await asyncio.sleep(310)
        world.nodes["a"].store.put_blob(data)
        start_s = now()
        b.hints[blob] = [world.nodes["a"].id]
        b.transfers.poke()
        await asyncio.gather(*tasks)
        assert now() - start_s < 20

    play("a-b b-c", FAST, scene)


def test_a_ring_without_the_blob_does_not_go_round_for_ever() -> None:
    blob, _ = data_of(80_000)

    async def scene(world: World) -> None:
        for name, source in zip("abcd", "bcda", strict=True):
            world.nodes[name].hints[blob] = [ident(source)]
        fetch = asyncio.create_task(world.nodes["a"].transfers.fetch(blob, 80_000))
        await asyncio.sleep(700)
        total = sum(world.carried(*pair) for pair in ("ab", "bc", "cd", "da", "ba", "cb", "dc", "ad"))
        assert total < 700 * 50
        fetch.cancel()
        await asyncio.sleep(700)
        assert all(node.transfers.statuses() == [] for node in world.nodes.values())

    play("a-b b-c c-d d-a", FAST, scene)


def test_a_node_that_does_not_relay_says_no() -> None:
    blob, data = data_of(50_000)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        await world.kill("b")
        b = await world.add("b", TransferLimits(relay=lambda: False))
        b.hints[blob] = [ident("a")]
        await asyncio.sleep(2)
        c = world.nodes["c"]
        c.hints[blob] = [b.id]
        fetch = asyncio.create_task(c.transfers.fetch(blob, len(data)))
        await asyncio.sleep(30)
        assert b.transfers.statuses() == []
        await b.transfers.fetch(blob, len(data))
        start_s = now()
        await fetch
        assert now() - start_s < 65

    play("a-b b-c", FAST, scene)


def test_questions_that_wait_for_data_do_not_hold_up_what_is_there() -> None:
    """As after a partition: many small blobs that nobody in reach has any more, and a model that is there."""
    blob, data = data_of(20_000)
    gone = [data_of(2500, seed)[0] for seed in range(100, 140)]

    async def scene(world: World) -> None:
        b, c = world.nodes["b"], world.nodes["c"]
        for each in gone:
            b.hints[each] = [ident("a")]
            c.hints[each] = [b.id]
        tasks = [asyncio.create_task(c.transfers.fetch(each, 2500, rank=1)) for each in gone]
        await asyncio.sleep(1)
        b.store.put_blob(data)
        c.hints[blob] = [b.id]
        start_s = now()
        await c.transfers.fetch(blob, len(data), rank=0)
        assert now() - start_s < 5.0
        for task in tasks:
            task.cancel()

    play("a-b b-c", FAST, scene)


def test_a_lost_nudge_costs_seconds() -> None:
    blob, data = data_of(2500)
    deaf = PathParams(rate_bytes_s=125_000, delay_s=0.05, nudge_loss=1.0)

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        b.hints[blob] = [a.id]
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(310)
        a.store.put_blob(data)
        start_s = now()
        await fetch
        assert now() - start_s < 10

    play("a-b", deaf, scene)


def test_a_relay_asks_again_who_has_it() -> None:
    """A hub learnt of a blob from the one that now wants it back; its question to the others got lost."""
    blob, data = data_of(2500)
    deaf = PathParams(rate_bytes_s=125_000, delay_s=0.05, ask_loss=1.0)

    async def scene(world: World) -> None:
        a, b, c = (world.nodes[name] for name in "abc")
        b.hints[blob], a.hints[blob] = [a.id], [b.id]
        c.store.put_blob(data)
        fetch = asyncio.create_task(a.transfers.fetch(blob, len(data)))
        await asyncio.sleep(60)
        world.network.set(b.id, c.id, FAST)
        await asyncio.wait_for(fetch, 60)

    play("a-b b-c", {"a-b": FAST, "b-c": deaf}, scene)
