"""A served task from the alarm to the swap and back, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from field_world import INVERTED, TASK, World, in_virtual_time  # noqa: F401 (a fixture)

from muster.errors import MusterError
from muster.node.field.gates import Compared
from muster.node.field.situation import Settings
from muster.protocol.records import Need, Use
from muster.serving.paths import folder_of, pointer_of
from muster.simulation.virtual.event_loop import run

pytestmark = pytest.mark.usefixtures("in_virtual_time")
QUICK = Settings(settle_s=20.0)


def play(
    folder: Path, names: str, story: Callable[[World], Awaitable[None]], settings: Settings = QUICK
) -> None:
    """Run a story on nodes that all use the same first model."""

    async def main() -> None:
        world = World(names, folder, settings)
        await world.start()
        await story(world)
        await world.close()

    run(main(), until_s=24 * 3600)


def records(world: World, name: str, kind: type) -> list[Need | Use]:
    found = world[name].core.ledger.load(kind.KIND)
    return [e.record for e in found if e.author == world[name].core.node]  # type: ignore[misc]


def test_a_lone_node_asks_checks_and_swaps(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        a = world["a"]
        assert a.served().version == "base"
        a.change()
        await world.until(lambda: "20 more labels" in a.wait())
        a.label(right=8, wrong=24)
        await world.until(lambda: bool(a.asker.asked))
        assert "fails here: 24 of 32 labels are wrong" in a.said()
        await world.until(lambda: "held-out labels to be checked on" in a.wait())
        a.label(right=10, wrong=70)
        await world.until(lambda: a.served().reason.startswith("adopted"))
        assert a.served().former.version == "base"  # type: ignore[union-attr]
        await world.until(lambda: all(n.over for n in records(world, "a", Need)))  # type: ignore[union-attr]
        (use,) = records(world, "a", Use)
        assert isinstance(use, Use)
        assert (use.reason, use.held_n, use.wins, use.losses) == ("adopted", 20, 12, 0)
        assert len(a.asker.asked) == 1

    play(tmp_path, "a", story)


def test_nodes_that_are_alike_share_one_job_and_others_adopt_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for name in "ab":
            world[name].change()
            world[name].label(right=5, wrong=95)
        world["c"].shop.sketch_of = INVERTED
        await world.until(lambda: all(world[n].served().reason.startswith("adopted") for n in "ab"))
        assert sum(len(world[n].asker.asked) for n in "abc") == 1
        assert world["a"].served().version == world["b"].served().version
        assert world["c"].served().version == "base"
        assert not records(world, "c", Need)
        seen = {"a": "adopted", "b": "adopted", "c": "first"}
        await world.until(lambda: {v.node: v.reason for v in world["c"].field.views()} == seen)

    play(tmp_path, "abc", story)


def test_who_gets_ready_too_slowly_takes_part_in_the_job_of_another(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for name in "ab":
            world[name].asker.takes_s = 200.0  # longer than a turn
            world[name].change()
            world[name].label(right=5, wrong=95)
        await world.until(lambda: all(world[n].served().reason.startswith("adopted") for n in "ab"), 1200)
        assert sum(len(world[n].asker.asked) for n in "ab") == 1

    play(tmp_path, "ab", story)


def test_a_candidate_that_is_not_better_stays_out_and_another_job_needs_new_labels(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        a = world["a"]
        a.shop.usually = Compared(20, 7, 6, 4, 3)
        a.change()
        a.label(right=5, wrong=95)
        await world.until(lambda: "20 more labels make another job worth it" in a.wait())
        assert a.served().version == "base"
        assert "it is right on 7 of 20 held-out labels, the model in use on 6" in a.said()
        assert len(a.shop.made) == 2  # the first model, and this one: it is not tried again
        await asyncio.sleep(300)
        assert len(a.shop.made) == 2
        a.label(right=1, wrong=24)
        a.shop.usually = Compared(25, 22, 6, 16, 0)
        await world.until(lambda: a.served().reason.startswith("adopted"))
        assert len(a.asker.asked) == 2

    play(tmp_path, "a", story)


def test_the_former_model_comes_back_and_like_nodes_do_not_take_what_was_wrong(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        a, b = world["a"], world["b"]
        for server in (a, b):
            server.change()
        b.shop.usually = Compared(20, 6, 6, 0, 0)  # it takes nothing
        a.label(right=5, wrong=95)
        await world.until(lambda: a.served().reason.startswith("adopted"))
        bad = a.served().version
        a.label(right=5, wrong=20, former_right=25)
        await world.until(lambda: a.served().reason.startswith("returned"))
        assert a.served().version == "base"
        await world.until(lambda: records(world, "a", Use)[-1].reason == "returned")  # type: ignore[union-attr]
        b.shop.usually = Compared(20, 20, 6, 14, 0)  # it would take it
        b.label(right=5, wrong=95)
        await world.until(lambda: b.served().reason.startswith("adopted"))
        assert bad not in b.shop.made

    play(tmp_path, "ab", story)


def test_a_model_that_is_no_better_is_refused_with_figures_and_forced(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        a = world["a"]
        a.label(right=95, wrong=5)
        a.shop.outcomes["bad"] = a.shop.usually = Compared(40, 31, 36, 1, 6)
        with pytest.raises(
            MusterError, match="right on 31 of 40 held-out labels, the model in use on 36"
        ) as raised:
            await a.use("bad")
        assert raised.value.code == "refused"
        assert "--force" in raised.value.sentence
        assert a.served().version == "base"
        assert (await a.use("bad", force=True)).startswith("bad")
        a.label(right=3, wrong=22, former_right=24)
        await world.until(lambda: a.served().version == "base")
        assert a.served().reason.startswith("returned")
        await a.field.rollback(TASK)
        assert a.served().version.startswith("bad")
        a.label(right=3, wrong=22, former_right=24)
        await asyncio.sleep(60)
        assert a.served().version.startswith("bad")  # a person wanted it so

    play(tmp_path, "a", story)


def test_what_fails_is_said_and_tried_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        a = world["a"]
        a.change()
        a.label(right=5, wrong=95)
        a.asker.fails = MusterError("task_fault", "the trainer does not start")
        await world.until(lambda: "the trainer does not start" in a.wait())
        a.asker.fails = None
        await world.until(lambda: bool(a.asker.asked))
        a.shop.fails = MusterError("disk_full", "the disk is full: free some space")
        await world.until(lambda: "the disk is full" in a.wait())
        assert a.said().count("the disk is full") == 1
        await asyncio.sleep(60)
        tried = len(a.shop.made)
        assert 2 <= tried <= 8  # with longer and longer pauses
        a.shop.fails = None
        await world.until(lambda: a.served().reason.startswith("adopted"), 1200)

    play(tmp_path, "a", story)


def test_a_candidate_that_cannot_be_exported_is_not_tried_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        a = world["a"]
        a.change()
        a.label(right=5, wrong=95)
        await world.until(lambda: bool(a.asker.asked))
        a.shop.fails = MusterError("task_fault", "torch cannot export this model to ONNX")
        await world.until(lambda: "more labels make another job worth it" in a.wait())
        assert "torch cannot export this model" in a.said()
        tried = len(a.shop.made)
        await asyncio.sleep(900)
        assert len(a.shop.made) == tried
        assert a.served().version == "base"

    play(tmp_path, "a", story)


def test_a_budget_that_is_spent_keeps_a_node_from_asking_and_is_said(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        a = world["a"]
        a.asker.why = "it asked for 1 job today, as many as its owner allows"
        a.change()
        a.label(right=5, wrong=95)
        await world.until(lambda: "as its owner allows" in a.wait() or "owner allows" in a.wait())
        await asyncio.sleep(120)
        assert not a.asker.asked
        asked = await a.field.adapt(TASK)  # a person may
        assert asked.job == a.asker.asked[0].hex()

    play(tmp_path, "a", story)


def test_with_auto_off_a_person_asks_and_takes(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        a = world["a"]
        a.change()
        a.label(right=5, wrong=95)
        await world.until(lambda: "muster adapt" in a.wait())
        await a.field.adapt(TASK)
        await world.until(lambda: "muster use" in a.wait())
        commit = a.wait().split("muster use ")[1].split()[0]
        moved = await a.field.use(commit, "", force=False)
        assert moved.version == commit
        assert a.served().reason.startswith("adopted")

    play(tmp_path, "a", story, Settings(auto=False, settle_s=20.0))


def test_the_result_is_fine_tuned_where_the_owner_wants_that(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        a = world["a"]
        a.change()
        a.label(right=5, wrong=95)
        await world.until(lambda: a.served().version.endswith("-own"))
        assert a.served().former is not None
        assert a.served().former.version in a.served().version  # type: ignore[union-attr]
        await world.until(lambda: records(world, "a", Use)[-1].commit == b"")  # type: ignore[union-attr]

    play(tmp_path, "a", story, Settings(personal=True, settle_s=20.0))


@pytest.mark.parametrize("after_s", [1.0, 22.0, 24.0, 40.0, 41.5, 42.5, 60.0])
def test_a_node_that_is_killed_and_restarted_does_nothing_twice(tmp_path: Path, after_s: float) -> None:
    async def story(world: World) -> None:
        a = world["a"]
        a.change()
        a.label(right=5, wrong=95)
        await asyncio.sleep(after_s)
        asked = len(a.asker.asked)
        a = await world.restart("a")
        await world.until(lambda: a.served().reason.startswith("adopted"))
        await world.until(lambda: all(n.over for n in records(world, "a", Need)))  # type: ignore[union-attr]
        assert asked + len(a.asker.asked) == 1
        assert len(records(world, "a", Use)) == 1
        await asyncio.sleep(120)
        assert asked + len(a.asker.asked) == 1

    play(tmp_path, "a", story)


def test_a_damaged_pointer_is_said_and_a_new_model_mends_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        a = world["a"]
        pointer_of(folder_of(a.home, TASK)).write_text("{")
        await world.until(lambda: "is damaged" in a.said())
        await a.use("next")
        assert a.served().version.startswith("next")

    play(tmp_path, "a", story)


@pytest.mark.parametrize("worse", [False, True])
def test_what_two_parts_adopted_gives_way_to_their_merge_unless_that_is_surely_worse(
    tmp_path: Path, worse: bool
) -> None:
    async def story(world: World) -> None:
        servers, network = [world[name] for name in "abcd"], world.small.network
        for server in servers:
            server.asker.rounds = 60
            server.change()
            server.label(right=5, wrong=95)
        await world.until(lambda: any(server.asker.asked for server in servers))
        job = next(job for server in servers for job in server.asker.asked)

        def all_train() -> bool:
            runners = [server.core.jobs.runners.get(job) for server in servers]
            return all(r and (head := r.head()) and len(head.counted) >= 4 for r in runners)

        await world.until(all_train)
        nodes = [server.core.node for server in servers]
        network.partition(nodes[:2], nodes[2:])
        await world.until(lambda: all(s.served().reason.startswith("adopted") for s in servers))
        parts = [server.served().version for server in servers]
        assert len(set(parts)) == 2
        for server in servers:  # as these labels tell it, a part is a little better than the merge, or much
            lost = 15 if worse else 3
            server.shop.usually = Compared(20, 18 - lost, 18, 0, lost)
        network.heal_all()
        if worse:
            await world.until(lambda: all("merged with what was trained apart" in s.said() for s in servers))
            assert [server.served().version for server in servers] == parts
        else:
            await world.until(lambda: len({s.served().version for s in servers} - set(parts)) == 1)
            await world.until(lambda: len({s.served().version for s in servers}) == 1)
        assert sum(len(server.asker.asked) for server in servers) <= 2

    play(tmp_path, "abcd", story)
