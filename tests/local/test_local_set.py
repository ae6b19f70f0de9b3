"""What a local set keeps, which of it a job trains on, and what is held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from muster.errors import MusterError
from muster.local.database import LocalFault
from muster.local.limits import Limits
from muster.local.local_set import LocalSet, path_of
from muster.local.rows import Answered


def clocked(t: float = 1000.0) -> Callable[[], float]:
    now = [t]

    def clock() -> float:
        now[0] += 0.1
        return now[0]

    return clock


def answers(
    first: int, n: int, t: float = 0.0, entropy: float | None = 0.5, version: str = "a"
) -> list[Answered]:
    return [
        Answered(f"k{i}", np.full((2, 3), i, np.uint8), i % 4, entropy, version, t + i)
        for i in range(first, first + n)
    ]


def kept(local: LocalSet, rows: list[Answered]) -> list[int]:
    return [i for i in local.add_answers(rows) if i is not None]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalSet]:
    with LocalSet.open(path_of(tmp_path, "digits"), Limits(free_bytes=0), clocked()) as made:
        yield made


def test_an_answer_is_kept_and_found_by_its_key(local: LocalSet) -> None:
    ids = kept(local, answers(0, 3))
    assert [s.id for s in local.unlabelled(9, uncertain_first=False)] == ids[::-1]
    assert local.label("k1", 2)
    found = local.labelled()
    assert found.ids == (ids[1],)
    assert found.y.tolist() == [2]
    assert (found.x == 1).all()
    assert found.x.shape == (1, 2, 3)
    assert found.x.dtype == np.uint8
    assert not local.label("k9", 2)
    assert not local.label(99, 2)
    counts = local.counts()
    assert (counts.unlabelled, counts.labelled, counts.labels, counts.wrong) == (2, 1, 1, 1)


def test_a_key_names_the_newest_sample_and_the_label_of_the_older_one_stays(local: LocalSet) -> None:
    first = kept(local, answers(1, 1))
    assert local.label("k1", 1)
    second = kept(local, answers(1, 1))
    assert local.label("k1", 3)
    assert local.labelled().ids == (first[0], second[0])
    assert local.labelled().y.tolist() == [1, 3]


def test_a_label_can_be_corrected_and_is_judged_again(local: LocalSet) -> None:
    ids = kept(local, answers(1, 1))
    local.label("k1", 2)
    local.add_verdicts([(ids[0], "b", False)])
    local.label(ids[0], 1)
    counts = local.counts()
    assert local.labelled().y.tolist() == [1]
    assert (counts.labels, counts.wrong) == (1, 0)
    assert [s.id for s in local.unjudged("b", 9)] == ids


def test_values_stay_values(local: LocalSet) -> None:
    local.add_labelled(np.zeros(2, np.float32), 2.0)
    assert local.labelled().y.dtype == np.float32
    local.add_labelled(np.zeros(2, np.float32), np.float32(2.5))
    assert local.labelled().y.tolist() == [2.0, 2.5]


@pytest.mark.parametrize("label", [True, "3", None, float("nan"), 1e300])
def test_what_is_no_label_is_refused(local: LocalSet, label: object) -> None:
    local.add_answers(answers(0, 1))
    with pytest.raises(MusterError, match="no label"):
        local.label("k0", label)


def test_a_file_that_is_imported_twice_is_kept_once(local: LocalSet) -> None:
    one = local.add_labelled(np.zeros(2), 1, key="inbox:abc")
    assert local.add_labelled(np.zeros(2), 1, key="inbox:abc") == one
    assert local.counts().labelled == 1


def test_the_ring_keeps_the_newest_by_number_and_by_bytes(tmp_path: Path) -> None:
    limits = Limits(unlabelled=10, free_bytes=0)
    with LocalSet.open(tmp_path / "a.sqlite", limits) as local:
        ids = kept(local, answers(0, 25))
        assert [s.id for s in local.unlabelled(99, uncertain_first=False)] == ids[:-11:-1]
    size = 14 * 4  # a sample of these takes 2 + 8 + 6 bytes at most
    with LocalSet.open(tmp_path / "b.sqlite", Limits(unlabelled_bytes=size, free_bytes=0)) as local:
        local.add_answers(answers(0, 25))
        counts = local.counts()
        assert 0 < counts.unlabelled < 25
        assert counts.size_bytes <= size


def test_at_most_so_many_answers_a_second_are_kept(tmp_path: Path) -> None:
    with LocalSet.open(tmp_path / "a.sqlite", Limits(per_second=3, free_bytes=0)) as local:
        rows = [Answered(f"k{i}", np.zeros(1), 0, None, "a", 50 + i / 10) for i in range(20)]
        assert [i is not None for i in local.add_answers(rows[:5])] == [True] * 3 + [False] * 2
        assert [i is not None for i in local.add_answers(rows[5:])] == [False] * 5 + [True] * 3 + [False] * 7


def test_one_label_of_each_five_is_held_out(local: LocalSet) -> None:
    for i in range(50):
        local.add_labelled(np.full(2, i), i % 5)
    held, train = local.labelled(held=True), local.labelled(held=False)
    assert len(held.ids) == 10
    assert len(train.ids) == 40
    assert not set(held.ids) & set(train.ids)
    assert all(len([i for i in held.ids if 5 * b < i <= 5 * b + 5]) == 1 for b in range(10))
    assert len(set(held.y.tolist())) > 1  # labels in turns do not make one class the test


def test_labels_after_a_snapshot_are_held_out_until_the_next(local: LocalSet) -> None:
    for i in range(10):
        local.add_labelled(np.full(2, i), i % 4)
    first = local.snapshot("job1")
    for i in range(10):
        local.add_labelled(np.full(2, i), i % 4)
    assert len(first.new.ids) == 8
    assert len(local.labelled(held=True).ids) == 12
    assert local.snapshot("job1").new.ids == first.new.ids
    second = local.snapshot("job2")
    assert len(second.new.ids) == 16
    assert len(local.labelled(held=True).ids) == 4
    assert len(local.labelled(held=False).ids) == 16


def test_an_alarm_begins_an_epoch_and_its_labels_count_by_themselves(local: LocalSet) -> None:
    local.add_answers(answers(0, 8))
    for i in range(8):
        local.label(f"k{i}", i % 4)  # all right
    assert local.alarm(7.5, "entropy") == 1
    local.add_answers(answers(8, 8))
    for i in range(8, 16):
        local.label(f"k{i}", 0)  # two right
    counts = local.counts()
    assert (counts.epoch, counts.labels, counts.wrong) == (1, 8, 6)
    assert (counts.labels_before, counts.wrong_before, counts.epoch_labelled) == (8, 0, 8)
    assert counts.epoch_newest == 8
    assert counts.epoch_held == len(local.labelled(held=True, since_epoch=1).ids)
    assert local.alarms()[0].z == 7.5
    assert local.alarms()[0].epoch == 1
    taken = local.snapshot("job")
    assert set(taken.held.ids) == set(local.labelled(held=True, since_epoch=1).ids)
    assert max(taken.former.ids) <= 8 < min(taken.new.ids)
    assert set(taken.new.y.tolist()) == {0}
    assert len(local.labelled(held=True, since_epoch=1).ids) < len(local.labelled(held=True).ids)


def test_the_reservoir_keeps_classes_epochs_and_the_newest(tmp_path: Path) -> None:
    with LocalSet.open(tmp_path / "a.sqlite", Limits(labelled=40, free_bytes=0)) as local:
        for i in range(200):
            local.add_labelled(np.full(2, i), 0 if i % 10 else 1)
        y = local.labelled().y
        assert len(y) == 40
        assert (y == 1).sum() >= 14
        local.alarm(9, "entropy")
        ids = [local.add_labelled(np.full(2, i), 0) for i in range(60)]
        found = local.labelled()
        assert len(found.ids) == 40
        assert set(ids[-10:]) <= set(found.ids)
        assert len(local.labelled(since_epoch=1).ids) < 40


def test_the_reservoir_draws_evenly_from_all_labels_of_a_class(tmp_path: Path) -> None:
    with LocalSet.open(tmp_path / "a.sqlite", Limits(labelled=80, free_bytes=0)) as local:
        ids = [local.add_labelled(np.full(2, 1), 0) for _ in range(400)]
        kept = set(local.labelled().ids)
        early = len(kept & set(ids[:200]))
        assert set(ids[-20:]) <= kept
        assert 15 <= early <= 50


def test_the_first_samples_of_an_epoch_are_drawn_then_uncertain_ones_come(local: LocalSet) -> None:
    local.add_answers(answers(100, 9, entropy=9.0))  # of an epoch before
    local.alarm(8.0, "test")
    for i in range(90):
        local.add_answers(answers(i, 1, entropy=i / 90))
    first = local.unlabelled(20)
    assert [s.id for s in local.unlabelled(20)] == [s.id for s in first]
    assert {s.epoch for s in first} == {1}
    assert 0.25 < np.mean([s.entropy or 0 for s in first]) < 0.75  # not the uncertain ones
    for sample in first:
        assert local.label(sample.id, 0)
    assert (local.counts().labels, len(local.labelled(held=True).ids)) == (20, 4)
    asked = local.unlabelled(10)
    assert [s.hold for s in asked] == [False] * 4 + [True] + [False] * 4 + [True]
    doubts = [s.entropy or 0.0 for s in asked if not s.hold]
    assert doubts == sorted(doubts, reverse=True)
    assert min(doubts) > 0.85
    assert len({s.id for s in asked}) == 10


def test_a_sample_chosen_for_its_doubt_is_trained_on_and_judges_nobody(local: LocalSet) -> None:
    local.add_answers(answers(0, 60))
    for sample in local.unlabelled(20):
        local.label(sample.id, 0)
    before, held = local.counts(), local.labelled(held=True).ids
    asked = local.unlabelled(10)
    for sample in asked:
        local.label(sample.id, 0)
    doubtful, drawn = [s.id for s in asked if not s.hold], [s.id for s in asked if s.hold]
    assert local.counts().labels == before.labels + 2
    assert set(local.labelled(held=True).ids) == {*held, *drawn}
    local.add_verdicts([(id_, "b", True) for id_ in doubtful + drawn])
    assert local.counts("b").labels == 2
    assert not {s.id for s in local.unjudged("b", 99)} & set(doubtful)
    assert set(doubtful) <= set(local.snapshot("job").new.ids)
    shown = next(s for s in local.unlabelled(10) if not s.hold)
    local.label(shown.key, 0)  # by feedback: nobody chose it
    assert local.counts().labels == before.labels + 3


def test_a_file_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with LocalSet.open(path) as local:
        local.add_labelled(np.zeros(2), 1)
        local._run(lambda db: db.execute("ALTER TABLE sample DROP COLUMN offered"))
        local._run(lambda db: db.execute("UPDATE meta SET value = 1 WHERE name = 'version'"))
    for _ in range(2):
        with LocalSet.open(path, Limits(free_bytes=0)) as local:
            assert local.labelled().y.tolist() == [1]
            local.add_answers(answers(0, 3))
            assert len(local.unlabelled(3)) == 3


def test_verdicts_are_paired_in_the_order_of_labels(local: LocalSet) -> None:
    ids = kept(local, answers(0, 4, version="new"))
    for i in (3, 1, 0):
        local.label(f"k{i}", 1)
    assert [s.id for s in local.unjudged("new", 9)] == []  # its own answers are verdicts
    assert [s.id for s in local.unjudged("old", 2)] == [ids[3], ids[1]]
    local.add_verdicts([(ids[0], "old", True), (ids[3], "old", False), (999, "old", True)])
    assert local.verdicts("new", "old") == [(False, False), (False, True)]
    assert local.counts("old").labels == 2
    assert local.counts("old").wrong == 1
    assert local.unjudged("old", 9, since_s=2e9) == []
    assert local.verdicts("new", "old", since_s=2e9) == []


def test_samples_of_another_shape_are_left_out(local: LocalSet) -> None:
    local.add_labelled(np.zeros((2, 2), np.uint8), 1)
    local.add_labelled(np.zeros((3, 3), np.uint8), 2)
    assert local.labelled().x.shape == (1, 3, 3)


def test_a_newer_version_of_the_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with LocalSet.open(path) as local:
        local._run(lambda db: db.execute("UPDATE meta SET value = 99 WHERE name = 'version'"))
    with pytest.raises(LocalFault, match="newer Muster"):
        LocalSet.open(path)


def test_who_gives_no_limits_keeps_to_those_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with LocalSet.open(path, Limits(labelled=30, free_bytes=0)) as server, LocalSet.open(path) as program:
        for i in range(50):
            program.add_labelled(np.full(2, i), 0)
        assert server.counts().labelled == 30
    with LocalSet.open(path, Limits(labelled=3000)), LocalSet.open(path) as program:
        for i in range(50):
            program.add_labelled(np.full(2, i), 0)
        assert program.counts().labelled == 80


def test_a_large_sample_is_no_fault_of_the_others(tmp_path: Path) -> None:
    with LocalSet.open(tmp_path / "a.sqlite", Limits(sample_bytes=100, free_bytes=0)) as local:
        rows = [Answered("a", np.zeros(500), 0, None, ""), Answered("b", np.zeros(5), 0, None, "")]
        assert [i is None for i in local.add_answers(rows)] == [True, False]
        with pytest.raises(MusterError, match="at most 100 bytes"):
            local.add_labelled(np.zeros(500), 1)
