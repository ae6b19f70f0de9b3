from __future__ import annotations

import json
import tomllib

import msgspec
import pytest

from muster.simulation.faults import (
    Cut,
    Fault,
    FillDisk,
    Heal,
    Kill,
    Leave,
    Lose,
    Partition,
    Pause,
    Restart,
    Resume,
    Return,
    SkewClock,
    Slow,
    from_dict,
    link_changes,
    names_in,
    to_dict,
)

LINKS = [(a, b) for a in "abcd" for b in "abcd" if a != b]
ALL: list[Fault] = [
    Cut("a", "b"),
    Cut("a", both=False),
    Heal(),
    Partition((("a", "b"), ("c",))),
    Slow("a", "b", rate_kbit_s=9.6),
    Lose(0.05),
    Leave("a"),
    Return("a"),
    Kill("a"),
    Pause("a"),
    Resume("a"),
    Restart("a", after_s=3.0),
    FillDisk("a", 100),
    FillDisk("a", None),
    SkewClock("a", -5.0),
]


@pytest.mark.parametrize("fault", ALL, ids=repr)
def test_json_and_back(fault: Fault) -> None:
    if fault == FillDisk("a", None):
        assert from_dict({"fault": "fill_disk", "node": "a", "free_bytes": None}) == fault
    assert from_dict(json.loads(msgspec.json.encode(fault))) == fault


def test_toml() -> None:
    text = (
        '[[e]]\nfault = "partition"\ngroups = [["a", "b"], ["c"]]\n[[e]]\nfault = "lose"\nloss = 0.1\na = "b"'
    )
    raws = tomllib.loads(text)["e"]
    assert [from_dict(raw) for raw in raws] == [Partition((("a", "b"), ("c",))), Lose(0.1, "b")]
    assert to_dict(Slow("a", "b", delay_ms=5)) == {
        "fault": "slow",
        "a": "a",
        "b": "b",
        "delay_ms": 5,
        "both": True,
    }


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="nods"):
        from_dict({"fault": "kill", "node": "a", "nods": 1})


def test_cut_of_one_link_one_direction_and_one_node() -> None:
    assert link_changes(Cut("a", "b"), LINKS) == {("a", "b"): {"up": False}, ("b", "a"): {"up": False}}
    assert link_changes(Cut("a", "b", both=False), LINKS) == {("a", "b"): {"up": False}}
    assert set(link_changes(Cut("a"), LINKS)) == {pair for pair in LINKS if "a" in pair}
    assert set(link_changes(Heal(), LINKS)) == set(LINKS)


def test_a_partition_cuts_between_groups_and_nothing_inside() -> None:
    cut = link_changes(Partition((("a", "b"),)), LINKS)
    assert set(cut) == {(a, b) for a, b in LINKS if (a in "ab") != (b in "ab")}
    assert all(change == {"up": False} for change in cut.values())


def test_slow_and_lose_set_only_what_they_name() -> None:
    assert link_changes(Slow("a", "b", delay_ms=9), [("a", "b")]) == {("a", "b"): {"delay_ms": 9}}
    assert link_changes(Slow("a", "b"), LINKS) == {}
    assert link_changes(Lose(0.5, "a", "b", both=False), LINKS) == {("a", "b"): {"loss": 0.5}}


@pytest.mark.parametrize("fault", [fault for fault in ALL if hasattr(fault, "node")], ids=repr)
def test_faults_of_nodes_leave_links_alone(fault: Fault) -> None:
    assert link_changes(fault, LINKS) == {}
    assert names_in(fault) == {"a"}


def test_names() -> None:
    assert names_in(Cut("a")) == {"a"}
    assert names_in(Heal()) == set()
    assert names_in(Partition((("a", "b"), ("c",)))) == {"a", "b", "c"}
