"""The demo's story: cues by rounds, faults in order, and the stage that plays it."""

from __future__ import annotations

import asyncio
import doctest
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakenode import JOB, contribution, job_view, snapshot
from hypothesis import given
from hypothesis import strategies as st

from muster.cli.demo.command import _request
from muster.cli.demo.preparation import node_config, task_options
from muster.cli.demo.stories import courier, story
from muster.cli.demo.stories.chosen import STORIES
from muster.cli.demo.stories.partition import ROUNDS, ROUNDS_MIN, partition, sides_of
from muster.cli.demo.stories.stage import SETTLE_S, Stage, round_of
from muster.cli.demo.stories.story import Seen
from muster.cli.main import run as run_command
from muster.emulation.scenario_file import load
from muster.errors import MusterError
from muster.node.api.snapshot import Snapshot
from muster.simulation.faults import Cut, Fault, Heal, Kill, Restart
from muster.simulation.virtual.event_loop import run

FIELD = load("field-8")
SOUTH, NORTH = ("alpha", "bravo", "charlie", "delta"), ("echo", "foxtrot", "golf", "hotel")


def test_sides_of_a_network_with_a_bridge() -> None:
    sides = sides_of(FIELD)
    assert (sides.a, sides.b, sides.near, sides.far) == ("delta", "echo", SOUTH, NORTH)
    assert (sides.near_end, replace(sides, a="echo", b="delta").near_end) == ("delta", "delta")
    with pytest.raises(MusterError, match="no single link divides lan-3") as caught:
        sides_of(load("lan-3"))
    assert caught.value.code == "usage"


@given(st.integers(ROUNDS_MIN, 200), st.integers(0, 220), st.integers(0, 220))
def test_every_job_sees_the_whole_story_in_order_before_it_ends(rounds: int, near: int, far: int) -> None:
    play = partition(FIELD, rounds)
    whole = [Cut("delta", "echo"), Kill("alpha"), Restart("alpha"), Heal("delta", "echo")]
    assert [fault for scene in play.scenes for fault in scene.faults] == whole
    begun = play.begun(Seen(near, far))
    assert play.begun(Seen(near + 1, far)) >= begun <= play.begun(Seen(near, far + 1))
    assert play.begun(Seen(near, far), begun) == begun
    assert play.begun(Seen()) == 0
    if max(near, far) >= rounds - 1:
        assert begun == len(whole)
    if max(near, far) < min(4, rounds // 5):
        assert begun == 0


def test_the_command_refuses_what_cannot_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert STORIES == ("partition", "narrow", "courier", "adapt")
    assert run_command(["demo", "--story", "partition", "--rounds", "5"]) == 2
    assert f"--rounds {ROUNDS}" in capsys.readouterr().err
    assert run_command(["demo", "--story", "partition", "--scenario", "lan-3"]) == 2
    assert "no single link divides" in capsys.readouterr().err
    assert run_command(["demo", "--story", "romeo"]) == 2
    assert run_command(["demo", "--story", "courier", "--rounds", "5"]) == 2
    assert f"--rounds {courier.ROUNDS}" in capsys.readouterr().err
    assert run_command(["demo", "--story", "courier", "--scenario", "field-8"]) == 2
    assert "field-8 has no courier" in capsys.readouterr().err
    assert run_command(["demo", "--story", "adapt", "--scenario", "lan-3"]) == 2
    assert "no single link divides" in capsys.readouterr().err
    assert run_command(["demo", "--story", "adapt", "--scenario", "field-20"]) == 2
    assert "field-20" in capsys.readouterr().err
    assert doctest.testmod(story).failed == 0


def seen(name: str, round_: int, state: str = "running", head: str = "ef") -> Snapshot:
    return snapshot(name, jobs=[job_view(state, round_, head=head, coordinator="echo", accuracy=0.5)])


def test_the_stage_plays_tells_and_waits_for_one_head() -> None:
    done: list[Fault] = []
    said: list[str] = []

    async def apply(fault: Fault) -> None:
        done.append(fault)

    async def main() -> None:
        stage = Stage(partition(FIELD, 20), apply, said.append)
        heads: dict[str, Snapshot] = {}

        async def play(near: int, far: int) -> None:
            heads.update({"alpha": seen("alpha", near), "echo": seen("echo", far)})
            await stage.play(JOB, heads)

        assert round_of(JOB, {}, SOUTH) == 0
        await play(3, 3)
        assert (done, said) == ([], [])
        await play(4, 3)
        assert done == [Cut("delta", "echo"), Kill("alpha")]
        assert stage.killed == {"alpha"}
        assert said[2] == "beyond the cut: round 3, coordinated by echo, accuracy 50.0 %"
        await play(4, 3)
        await play(4, 7)
        assert len(done) == 2
        assert len(said) == 4  # nothing is told twice
        await play(9, 9)
        assert done[2:] == [Restart("alpha")]
        assert not stage.over(JOB, heads, ())
        await play(10, 11)
        assert done[3:] == [Heal("delta", "echo")]
        assert not stage.over(JOB, heads, ())
        both = {"alpha": seen("alpha", 20, "finished"), "echo": seen("echo", 20, "finished")}
        assert stage.over(JOB, both, ())
        other = both | {"golf": seen("golf", 20, "finished", head="aa")}
        assert not stage.over(JOB, other, ())
        assert stage.over(JOB, other, ("golf",))
        await asyncio.sleep(SETTLE_S + 1)
        assert stage.over(JOB, other, ())

    run(main())


def test_narrow_needs_no_data_and_takes_mnist_where_there_is_some(tmp_path: Path) -> None:
    plain = _request(None, None, None, "classes:2", None, "narrow", {})
    assert (plain.task, plain.scenario.name, plain.task_options) == ("digits", "narrow-9", {})
    assert plain.narrow()
    assert plain.story is None
    data = tmp_path / "mnist.npz"
    data.write_bytes(b"x")
    with_data = _request(None, None, data, "classes:2", None, "narrow", {})
    assert with_data.task == "mnist"
    assert task_options(with_data, 3)["model"] == "cnn6k"
    config = node_config(with_data, 3, tmp_path, tmp_path, "0.0.0.0:7447", ())
    assert config["profile"] == "narrow"
    usual = _request(None, None, None, "classes:2", None, None, {})
    assert (usual.task, usual.scenario.name) == ("digits", "field-8")
    assert not usual.narrow()
    assert "profile" not in node_config(usual, 3, tmp_path, tmp_path, "0.0.0.0:7447", ())


def test_narrow_says_that_mnist_needs_its_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["demo", "--story", "narrow", "--task", "mnist"]) != 0
    assert "give the .npz file with --data FILE" in capsys.readouterr().err


COURIER = load("field-8-courier")
CAMP, POSTS = ("alpha", "bravo", "charlie", "delta", "echo"), ("golf", "hotel")
AWAY = tuple(Cut("foxtrot", name) for name in CAMP)
HOME = tuple(Heal("foxtrot", name) for name in CAMP)


def test_the_courier_meets_each_post_once_and_comes_home() -> None:
    play = courier.story(COURIER, 30)
    assert play.opening == (*HOME, Cut("foxtrot", "golf"), Cut("foxtrot", "hotel"))
    assert [scene.faults for scene in play.scenes] == [
        (*AWAY, Heal("foxtrot", "golf")),
        (Cut("foxtrot", "golf"), Heal("foxtrot", "hotel")),
        (Cut("foxtrot", "hotel"), *HOME),
    ]
    assert (play.near, play.courier, play.unreached, play.deputy) == (CAMP, "foxtrot", POSTS, "bravo")
    assert play.scenes[0].said(Seen()) == "STORY: foxtrot leaves the camp and meets golf"
    assert play.scenes[1].said(Seen(carried={"golf": 1300})) == (
        "STORY: foxtrot moves on and meets hotel, with 1.3 kB of samples of golf"
    )


def test_the_courier_moves_on_with_what_it_came_for_or_without() -> None:
    play = courier.story(COURIER, 30)

    def begun(already: int, carried: str = "", scene_s: float = 1.0, known: str = "") -> int:
        has = dict.fromkeys(carried.split(), 0)
        return play.begun(Seen(9, 0, frozenset(known.split()), has, scene_s), already)

    assert begun(0) == 0  # it does not know of the job yet
    assert begun(0, known="golf") == 0
    assert begun(0, known="alpha") == 1
    assert begun(1, "alpha hotel", known="alpha golf hotel") == 1
    assert begun(1, "golf") == 2
    assert begun(1, "golf hotel") == 3
    assert begun(1, "", courier.LEG_S) == 2  # the next leg has its own time
    assert begun(2, "golf", courier.LEG_S) == 3


def test_the_cast_follows_from_the_network() -> None:
    assert courier.cast(COURIER) == courier.Cast(CAMP, "foxtrot", POSTS)
    assert courier.split(COURIER) == "alone:2:2"
    for other in ("lan-3", "narrow-9", "field-20"):
        with pytest.raises(MusterError, match="has no courier"):
            courier.cast(load(other))


def test_the_courier_needs_no_data_and_takes_mnist_where_there_is_some(tmp_path: Path) -> None:
    plain = _request(None, None, None, None, None, "courier", {"seed": 3})
    assert (plain.task, plain.scenario.name, plain.split) == ("digits", "field-8-courier", "alone:2:2")
    assert [act.title for act in plain.acts] == ["updates alone", "with stand-ins"]
    assert plain.story == courier.story(COURIER, courier.ROUNDS)
    assert _request(None, None, None, "iid", None, "courier", {}).split == "iid"
    data = tmp_path / "mnist.npz"
    data.write_bytes(b"x")
    with_data = _request(None, None, data, None, None, "courier", {"rounds": 12})
    assert (with_data.task, with_data.options["rounds"]) == ("mnist", 12)
    assert task_options(with_data, 3)["model"] == "cnn6k"


def test_the_stage_sees_what_the_courier_carries_and_does_not_wait_for_the_posts() -> None:
    done: list[Fault] = []
    said: list[str] = []

    async def apply(fault: Fault) -> None:
        done.append(fault)

    async def main() -> None:
        stage = Stage(courier.story(COURIER, 30), apply, said.append)
        met = [contribution("alpha"), contribution("golf")]
        samples = msgspec.structs.replace(met[1], shared_bytes=1300)
        heads = {
            "alpha": seen("alpha", 9),
            "foxtrot": snapshot("foxtrot", jobs=[job_view("running", 2, contributions=met[:1])]),
            "golf": seen("golf", 2, head="aa"),
        }
        await stage.play(JOB, heads)
        assert done == [*AWAY, Heal("foxtrot", "golf")]
        await stage.play(JOB, heads)
        assert len(done) == 6  # golf has not answered yet
        wants: dict[str, Any] = {"share": "always", "contributions": [met[0], samples]}
        heads["foxtrot"] = snapshot("foxtrot", jobs=[job_view("running", 2, **wants)])
        await stage.play(JOB, heads)
        assert len(done) == 6  # it has, and its samples are still on their way
        wants["contributions"] = [met[0], msgspec.structs.replace(samples, shared_held=True)]
        heads["foxtrot"] = snapshot("foxtrot", jobs=[job_view("running", 2, **wants)])
        await stage.play(JOB, heads)
        assert done[6:] == [Cut("foxtrot", "golf"), Heal("foxtrot", "hotel")]
        assert said[-1].endswith("with 1.3 kB of samples of golf")
        await asyncio.sleep(courier.LEG_S)
        await stage.play(JOB, heads)
        assert done[8:] == [Cut("foxtrot", "hotel"), *HOME]
        over = {name: seen(name, 30, "finished") for name in ("alpha", "foxtrot")}
        assert stage.over(JOB, over | {"golf": heads["golf"]}, ())

    run(main())
