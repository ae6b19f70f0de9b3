"""Whole simulated hours: a few fixed seeds, a few fresh ones, and the scenes that the design speaks of."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import planted
import pytest
from msgspec.structs import replace

from muster.simulation import faults as f
from muster.simulation.episodes import TimedFault
from muster.simulation.judging.check import Verdict, check, judge, play, story
from muster.simulation.judging.report import append, load, sentence, summary
from muster.simulation.schedule import Schedule, draw
from muster.simulation.specs import (
    BitRot,
    Bury,
    Clone,
    CrashTrainer,
    Flood,
    JobSpec,
    LoseDisk,
    MachineSpec,
    Misfire,
    Poison,
    Stall,
    TaskSpec,
    WireSpec,
    WorldFault,
    WorldSpec,
)
from muster.simulation.virtual.pipe import PathParams

# small or with two jobs, a real trainer, branches, lossy codecs; a paused node killed, its disk lost (930)
FIXED = (5, 9, 15, 25, 930)
ROTTEN = (20140, 20384, 20748)  # of whose damaged models a sum was made once
FRESH = 3


@pytest.mark.parametrize("seed", FIXED)
def test_fixed_seeds_hold(seed: int) -> None:
    verdict = check(seed)
    assert verdict.good, story(verdict)
    assert verdict.counts


@pytest.mark.parametrize("seed", ROTTEN)
def test_no_round_is_made_from_what_the_disk_has_damaged(seed: int) -> None:
    """The model before the head carries the server's momentum: it is compared with its hash, too."""
    verdict = check(seed)
    assert verdict.good, story(verdict)


def test_fresh_seeds_hold() -> None:
    """Other seeds every day; the story names the one that fails."""
    first = 1_000_000 + int(time.time() // 86_400) * 100
    for seed in range(first, first + FRESH):
        verdict = check(seed)
        assert verdict.good, story(verdict)


def test_a_seed_replays_exactly() -> None:
    assert draw(3) == draw(3)
    one, two = check(3), check(3)
    assert one.trace == two.trace
    assert one.story == two.story


LINK = PathParams(rate_bytes_s=1e6, delay_s=0.01)


JOB = JobSpec("a", 5.0, 8, None, 20, 0.05, 10.0, 2, "dense32", "dense32")
TASK = TaskSpec(weights=1500)


def scene(
    pairs: str,
    *events: tuple[float, WorldFault],
    heal_s: float = 900.0,
    jobs: tuple[JobSpec, ...] = (),
    task: TaskSpec = TASK,
    **changes: Any,
) -> Verdict:
    """A job asked on `a` at 5 s among the nodes that `pairs` ("ab bc") names; rounds of about 6 s."""
    names = sorted(set(pairs.replace(" ", "")))
    spec = WorldSpec(
        1,
        tuple(MachineSpec(n, 100, 0.25) for n in names),
        tuple(WireSpec(p[0], p[1], LINK) for p in pairs.split()),
        task,
        jobs or (replace(JOB, **changes),),
    )
    return judge(Schedule(1, "scene", spec, tuple(TimedFault(at_s, fault) for at_s, fault in events), heal_s))


def test_a_healthy_job() -> None:
    verdict = scene("ab bc ac", heal_s=120.0)
    assert verdict.good, story(verdict)
    assert verdict.rounds == 8
    assert verdict.merges == 0
    assert verdict.commits == 10  # root, eight rounds, the closing one: the root is the optimum


def test_a_job_closes_with_its_best_model_whoever_closes_it() -> None:
    """Here with the one that it began from; the coordinator is gone when the job ends."""
    verdict = scene("ab bc ac", (45.0, Bury("a")), heal_s=300.0)
    assert verdict.good, story(verdict)
    who, text = [(who, text) for _, who, text in verdict.story if text.startswith("closed with")][-1]
    assert who in "bc"
    assert text.startswith("closed with the model of round 0 as ")


@pytest.mark.parametrize("bug", ["", "closes_with_the_first"])
def test_a_job_closes_with_no_worse_model(bug: str) -> None:
    with planted.planted(bug) if bug else contextlib.nullcontext():
        verdict = scene("ab bc ac", heal_s=300.0, task=TaskSpec("tiny"), average=3)
    assert verdict.good is (not bug), story(verdict)


def test_the_job_survives_its_asker() -> None:
    verdict = scene("ab bc ac", (25.0, Bury("a")), heal_s=300.0)
    assert verdict.good, story(verdict)
    assert verdict.rounds == 8
    commits = [at_s for at_s, who, text in verdict.story if who in "bc" and "committed as" in text]
    assert commits[0] - 25.0 <= 10.0 + 2 * 7.0  # patience and two rounds


def test_a_killed_coordinator_listens_first_and_ends_with_the_same_head() -> None:
    verdict = scene("ab bc ac", (25.0, f.Restart("a", 3.0)), heal_s=300.0)
    assert verdict.good, story(verdict)
    assert verdict.rounds == 8


APART = (25.0, f.Partition((("a", "b"), ("c", "d")))), (70.0, f.Heal())


def test_a_partition_is_a_branch_and_healing_a_merge() -> None:
    verdict = scene("ab cd ac bd", *APART, rounds=20, heal_s=400.0)
    assert verdict.good, story(verdict)
    assert 1 <= verdict.merges <= 3


def test_a_planted_bug_is_caught_and_told() -> None:
    with planted.planted("drop_second_parent"):
        verdict = scene("ab cd ac bd", *APART, rounds=20, heal_s=400.0)
    assert any("another merge" in text for text in verdict.broken)
    assert f"--seed {verdict.seed}" in story(verdict)


def test_a_mule_carries_what_others_trained() -> None:
    """b meets a and c, one at a time: a's and c's updates are counted all the same."""
    meetings: list[tuple[float, WorldFault]] = []
    for turn in range(12):
        at_s = 60.0 * turn + 1.0
        meetings += [(at_s, f.Cut("b", "*")), (at_s, f.Heal("b", "ac"[turn % 2]))]
    verdict = scene("ab bc", *meetings, rounds=30, heal_s=800.0)
    assert verdict.good, story(verdict)
    for name in "ac":
        assert any(who == name and "trained" in text for _, who, text in verdict.story)
    assert verdict.acknowledged >= 20


def test_every_node_is_restarted_in_turn() -> None:
    events = tuple((20.0 + 8.0 * i, f.Restart(name, 2.0)) for i, name in enumerate("abc"))
    verdict = scene("ab bc ac", *events, heal_s=300.0)
    assert verdict.good, story(verdict)


def test_a_lost_disk_is_a_new_life() -> None:
    verdict = scene("ab bc ac", (30.0, LoseDisk("b", 2.0)), heal_s=300.0)
    assert verdict.good, story(verdict)


def test_a_dead_trainer_is_started_again() -> None:
    verdict = scene("ab", (12.0, CrashTrainer("a")), (26.0, CrashTrainer("b")), heal_s=300.0)
    assert verdict.good, story(verdict)
    assert verdict.rounds == 8


def test_a_full_disk_waits_and_comes_back() -> None:
    verdict = scene("ab bc ac", (20.0, f.FillDisk("a", 0)), (60.0, f.FillDisk("a")), heal_s=400.0)
    assert verdict.good, story(verdict)


def test_the_closing_commit_is_the_mean_of_the_last_models() -> None:
    verdict = scene("ab bc ac", heal_s=200.0, average=3, server_momentum=0.5)
    assert verdict.good, story(verdict)
    assert any("closed with" in text for _, _, text in verdict.story)
    assert verdict.commits == 10  # root, eight rounds, the closing one


@pytest.mark.parametrize(("codec", "down_codec"), [("topk:0.1", "quant8"), ("quant4", "topk:0.2")])
def test_lossy_codecs_both_ways_forget_nothing(codec: str, down_codec: str) -> None:
    verdict = scene("ab bc", (30.0, f.Restart("b", 2.0)), heal_s=300.0, codec=codec, down_codec=down_codec)
    assert verdict.good, story(verdict)
    assert verdict.rounds == 8


def test_two_jobs_wait_for_each_other_and_both_end() -> None:
    jobs = (JOB, replace(JOB, asker="c", at_s=20.0, rounds=4))
    verdict = scene("ab bc ac", (40.0, f.Kill("b")), (60.0, f.Restart("b")), jobs=jobs, heal_s=400.0)
    assert verdict.good, story(verdict)
    assert verdict.rounds == 12


def test_a_job_begins_at_a_commit_of_another_one() -> None:
    jobs = (JOB, replace(JOB, asker="b", at_s=120.0, rounds=3, back=0.45))
    verdict = scene("ab bc ac", jobs=jobs, heal_s=300.0)
    assert verdict.good, story(verdict)
    assert any("begins at round 4" in text for _, _, text in verdict.story)
    assert verdict.rounds == 11


@pytest.mark.parametrize("bug", ["", "nobody_carries"])
def test_who_does_not_hear_the_coordinator_takes_along_what_others_have(bug: str) -> None:
    """a is away and a round needs three: c takes along what b made, although b coordinates meanwhile."""
    with planted.planted(bug) if bug else contextlib.nullcontext():
        verdict = scene("ab bc", (25.0, f.Restart("a", 100.0)), heal_s=400.0, min_nodes=3)
    assert any(text.startswith("not taken along") for text in verdict.broken) == bool(bug), story(verdict)
    assert verdict.good != bool(bug), story(verdict)


def test_a_real_trainer_learns_and_stops_at_the_target() -> None:
    task = TaskSpec("tiny", common=True)
    verdict = scene("ab bc ac", (30.0, f.Restart("c", 5.0)), task=task, rounds=30, target=0.8, heal_s=400.0)
    assert verdict.good, story(verdict)
    assert 1 <= verdict.rounds < 30


def test_an_update_that_is_thrown_away_is_noticed() -> None:
    with planted.planted("full_disk_loses"):
        full = (20.0, f.FillDisk("b", 0)), (40.0, f.FillDisk("b", None))
        verdict = scene("ab bc ac", *full, heal_s=400.0, rounds=20)
    assert any(text.startswith("work:") for text in verdict.broken), story(verdict)


def test_work_of_a_process_that_is_killed_while_paused_is_not_thrown_away() -> None:
    """Its child's work comes to an end when the process is already gone (seed 388)."""
    paused = (12.0, f.Pause("b")), (30.0, f.Restart("b", 0.1))
    verdict = scene("ab bc ac", *paused, heal_s=400.0)
    assert verdict.good, story(verdict)


def test_the_last_heal_brings_several_nodes_into_contact() -> None:
    """As many merges as after that many heals are no storm (seed 30966)."""
    spec = WorldSpec(
        1,
        tuple(MachineSpec(n, 100, 0.25) for n in "abc"),
        (WireSpec("a", "b", LINK), WireSpec("a", "c", LINK)),
        TASK,
        (JOB,),
    )
    cuts = TimedFault(20.0, f.Cut("a")), TimedFault(30.0, f.Heal("a", "b")), TimedFault(40.0, f.Cut("a"))
    world = play(Schedule(1, "scene", spec, cuts, 60.0)).world
    assert world is not None
    assert world.contacts == 3


def test_a_report_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    good = scene("ab", heal_s=60.0)
    assert not good.counts, "nothing went wrong"
    bad = replace(good, seed=2, broken=["lost"], faults_in_job=3, seconds=2.0)
    for verdict in (good, bad):
        append(path, verdict)
    path.write_bytes(path.read_bytes() + b'{"seed": 3, "ho')  # killed in the midst of a line
    assert [v.seed for v in load(path)] == [1, 2]
    append(path, replace(good, seed=4, faults_in_job=1))
    found = load(path)
    assert [v.seed for v in found] == [1, 2, 4]
    assert found[0].story == []
    assert found[1].story == bad.story[-300:]
    s = summary(found)
    assert (s.seeds, s.counted, s.held, s.failed, s.faults) == (3, 2, 1, (2,), 4)
    assert "1 of 2 seeds hold" in sentence(s)
    assert "Failing: 2" in sentence(s)


def test_faults_inside_a_node_are_drawn_apart_from_the_others() -> None:
    old, new = draw(11, version=1), draw(11)
    inner = [e for e in new.events if isinstance(e.fault, Stall | Misfire | BitRot | Poison | Flood | Clone)]
    assert inner
    assert [e for e in new.events if e not in inner] == list(old.events)


@pytest.mark.parametrize("bug", ["", "stall_is_age"])
def test_a_process_that_stands_still_reads_what_came_meanwhile(bug: str) -> None:
    with planted.planted(bug) if bug else contextlib.nullcontext():
        stalls = (22.0, Stall("a", 30.0)), (60.0, Stall("b", 25.0)), (90.0, Stall("c", 15.0))
        verdict = scene("ab bc ac", *stalls, heal_s=400.0, rounds=18)
    assert verdict.good != bool(bug), story(verdict)
    assert bug or verdict.rounds == 18


@pytest.mark.parametrize("bug", ["", "loops_end"])
def test_a_loop_that_fails_comes_back(bug: str) -> None:
    misfires = ((20.0 + 7.0 * i, Misfire(name, 1 + i)) for i, name in enumerate("aabbccabc"))
    with planted.planted(bug) if bug else contextlib.nullcontext():
        verdict = scene("ab bc ac", *misfires, heal_s=400.0, rounds=12)
    assert verdict.good != bool(bug), story(verdict)


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_who_is_told_of_a_fault_asks_for_the_job_again(writes: int) -> None:
    """A write fails while `a` publishes the job (seed 30552)."""
    verdict = scene("ab bc ac", (4.9, Misfire("a", writes)), heal_s=120.0)
    assert verdict.good, story(verdict)
    assert verdict.rounds == 8


@pytest.mark.parametrize("bug", ["", "rot_unnoticed", "rot_kept"])
def test_a_damaged_model_is_had_again(bug: str) -> None:
    rotten = ((25.0 + 30.0 * i, BitRot(name, 1.0)) for i, name in enumerate("abc"))
    with planted.planted(bug) if bug else contextlib.nullcontext():
        verdict = scene("ab bc ac", *rotten, heal_s=400.0, rounds=20)
    assert verdict.good != bool(bug), story(verdict)


@pytest.mark.parametrize("bug", ["", "takes_anything", "no_quarantine"])
def test_records_that_cannot_be_and_junk_harm_nobody(bug: str) -> None:
    """Even numbers lie on a disk when its node starts again, odd ones are announced."""
    poisons = ((22.0 + 4.0 * i, Poison("abc"[i % 3], i)) for i in range(20))
    with planted.planted(bug) if bug else contextlib.nullcontext():
        verdict = scene("ab bc ac", *poisons, (30.0, Flood("c", 40)), heal_s=400.0, rounds=20)
    assert verdict.good != bool(bug), story(verdict)


@pytest.mark.parametrize("bug", ["", "never_throttled", "cut_for_good"])
def test_who_floods_others_is_cut_and_comes_back(bug: str) -> None:
    """c reaches the others directly, and through b alone what it makes."""
    flood = (25.0, Flood("c", 120, records=True))
    with planted.planted(bug) if bug else contextlib.nullcontext():
        verdict = scene("ab bc", flood, heal_s=400.0, rounds=20)
    assert verdict.good != bool(bug), story(verdict)


@pytest.mark.parametrize("bug", ["", "slot_kept"])
def test_the_trainer_goes_from_a_job_that_is_over_to_the_next(bug: str) -> None:
    jobs = (JOB, replace(JOB, asker="c", at_s=20.0, rounds=4))
    with planted.planted(bug) if bug else contextlib.nullcontext():
        verdict = scene("ab bc ac", jobs=jobs, heal_s=300.0)
    assert verdict.good != bool(bug), story(verdict)
