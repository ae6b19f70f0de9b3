"""The doctor's lines: what is well, what a person should know, what keeps a node from its work."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from muster.errors import EXIT_CODES
from muster.node.api.snapshot import LoopView, NeighbourView, PeerView, SelfView, Snapshot, TaskView
from muster.node.doctor.facts import Bundle, Clock, Facts, Home, Port, Route
from muster.node.doctor.findings import BEHIND_S, Finding, exit_code, findings

NOW_S = 1_800_000_000.0
HOME = Home("/h/alpha", True, "", 10**10, 10**6, 10**6, 2 * 10**9, 1, 1)
BUNDLE = Bundle(
    "/e/alpha.pem", name="alpha", fleet="orchard", until_s=2e11, owner="muster", home_owner="muster"
)
WELL = Facts(
    version="0.1.0",
    name="alpha",
    clock=Clock(NOW_S, NOW_S - 60, True),
    interfaces=(("eth0", ("192.0.2.7",)),),
    ports=(Port("[::]:7447", asked=False),),
    routes=(Route("192.0.2.10:7447"),),
    discovery=True,
    home=HOME,
    memory_bytes=10**9,
    memory_free_bytes=8 * 10**8,
    bundle=BUNDLE,
    serves=False,
    packages={"torch": "2.13.0+cpu", "onnxruntime": None},
    tasks=(TaskView("leaves", "1", "ab", 1000, 300),),
)
SELF = SelfView("aa", "alpha", "0.1.0", "idle", 0.0, None, 60.0, "/h/alpha", 77, ["[::]:7447"], [], 0, 0)
NEIGHBOUR = NeighbourView("bb", "bravo", 720.0, 0.02, None, 0, 0)
CHARLIE = PeerView("cc", "charlie", "idle", 0.0, 187.0, None, None, False)
UP = Snapshot(1, SELF, [NEIGHBOUR], [CHARLIE], [])


def of(facts: Facts, topic: str) -> list[Finding]:
    return [finding for finding in findings(facts) if finding.topic == topic]


def one(facts: Facts, topic: str) -> Finding:
    (finding,) = of(facts, topic)
    return finding


def home(**changes: object) -> Facts:
    return replace(WELL, home=replace(HOME, **changes))  # type: ignore[arg-type]


def bundle(**changes: object) -> Facts:
    return replace(WELL, bundle=replace(BUNDLE, **changes))  # type: ignore[arg-type]


def test_a_node_that_is_well_has_one_line_for_each_thing() -> None:
    found = findings(replace(WELL, daemon=UP))
    assert {finding.level for finding in found} == {"ok"}
    assert exit_code(found) == 0
    assert [finding.topic for finding in found] == [
        "daemon", "clock", "network", "port", "neighbour", "neighbours", "neighbours", "disk", "memory",
        "bundle", "torch", "onnxruntime", "task",
    ]  # fmt: skip
    assert [f.text for f in found if f.topic == "neighbours"] == [
        "in reach: bravo (for 12 min)", "not in reach now, last heard: charlie (3 min ago)",
    ]  # fmt: skip


def test_a_node_that_is_down_is_looked_at_as_well() -> None:
    found = findings(WELL)
    assert [f.topic for f in found if f.level == "warn"] == ["daemon"]
    assert one(WELL, "port").text == "UDP [::]:7447 is free"
    assert exit_code(found) == 0


# What is wrong, the line that says so, its level, and the code that the command ends with.
CASES: dict[str, tuple[Facts, str, str, str, int]] = {
    "hangs": (replace(WELL, daemon_fault="no answer within 30 s"), "daemon", "fail", "no answer", 5),
    "other version": (
        replace(
            WELL, daemon=msgspec.structs.replace(UP, node=msgspec.structs.replace(SELF, version="0.0.9"))
        ),
        "daemon",
        "warn",
        "it is version 0.0.9, this command is 0.1.0",
        0,
    ),
    "1970": (
        replace(WELL, clock=Clock(86_400.0, None, False)),
        "clock",
        "warn",
        "1970-01-02 00:00:00 UTC is before",
        0,
    ),
    "behind": (
        replace(WELL, clock=Clock(NOW_S, NOW_S + BEHIND_S + 1, True)),
        "clock",
        "warn",
        "was written at",
        0,
    ),
    "unkept": (replace(WELL, clock=Clock(NOW_S, NOW_S, False)), "clock", "warn", "by no time server", 0),
    "other clock": (
        replace(WELL, daemon=UP, clocks=("the clock of bravo says 1970-01-01: set it there",)),
        "clock",
        "warn",
        "the clock of bravo says 1970-01-01",
        0,
    ),
    "later": (
        replace(
            WELL,
            daemon=msgspec.structs.replace(
                UP, peers=[msgspec.structs.replace(CHARLIE, later="update muster")]
            ),
        ),
        "neighbours",
        "warn",
        "update muster",
        0,
    ),
    "no network": (replace(WELL, interfaces=()), "network", "warn", "no interface is up but loopback", 0),
    "no address": (replace(WELL, interfaces=(("wlan0", ()),)), "network", "warn", "wlan0 has no address", 0),
    "taken": (
        replace(WELL, ports=(Port("0.0.0.0:7447", True, "taken", "dnsmasq (pid 8)"),)),
        "port",
        "fail",
        "is taken by dnsmasq (pid 8)",
        11,
    ),
    "taken, any does": (
        replace(WELL, ports=(Port("[::]:7447", False, "taken"),)),
        "port",
        "warn",
        "is taken",
        0,
    ),
    "not here": (
        replace(WELL, ports=(Port("10.8.0.2:7447", True, "no such address"),)),
        "port",
        "warn",
        "has no address",
        0,
    ),
    "odd port": (
        replace(WELL, ports=(Port("[::]:5", True, "Permission denied"),)),
        "port",
        "fail",
        "Permission",
        11,
    ),
    "no way": (
        replace(WELL, routes=(Route("b:1", "no address is known for b"),)),
        "neighbour",
        "warn",
        "no address",
        0,
    ),
    "nobody": (
        replace(WELL, daemon=msgspec.structs.replace(UP, neighbours=[], peers=[]), discovery=False),
        "neighbours",
        "warn",
        "no node is in reach, and discovery is off",
        0,
    ),
    "read-only": (home(fault="Read-only file system"), "disk", "fail", "Read-only file system", 12),
    "full": (home(free_bytes=1000), "disk", "fail", "1 MB of at most 2 GB of blobs, 1 kB free", 13),
    "few": (home(free_bytes=4 * 10**8), "disk", "warn", "400 MB free", 0),
    "no inodes": (home(free_files=7), "disk", "warn", "room for 7 files", 0),
    "limit too high": (home(free_bytes=10**9), "disk", "warn", "1 GB free", 0),
    "memory": (replace(WELL, memory_free_bytes=10**8), "memory", "warn", "100 MB of 1 GB", 0),
    "no bundle": (bundle(fault="there is no bundle at x"), "bundle", "fail", "there is no bundle", 10),
    "old bundle": (bundle(from_s=NOW_S + 1), "bundle", "fail", "the clock is outside", 10),
    "open bundle": (bundle(mode=0o640), "bundle", "warn", "mode 0640", 0),
    "root's bundle": (bundle(owner="root"), "bundle", "fail", "it is root's, and muster runs the node", 10),
    "other name": (bundle(name="bravo"), "bundle", "warn", "node.toml calls it alpha", 0),
    "no torch": (replace(WELL, packages={}), "torch", "warn", "not installed", 0),
    "serves": (replace(WELL, serves=True), "onnxruntime", "fail", "has a task to serve", 22),
    "task": (
        replace(WELL, tasks=(TaskView("leaves", "", "", 0, 0, "no data", "leaves.py"),)),
        "task",
        "fail",
        "leaves: no data",
        7,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_one_line_that_says_what_to_do(case: str) -> None:
    facts, topic, level, text, code = CASES[case]
    (line,) = [f for f in of(facts, topic) if f.level != "ok"]
    assert (line.level, exit_code(findings(facts))) == (level, code)
    assert text in line.text
    assert (
        line.do or topic in ("neighbour", "bundle") or case in ("other clock", "later")
    )  # those sentences say it themselves
    assert (line.code in EXIT_CODES) == (level == "fail")


def test_a_bundle_that_was_named_on_the_command_line_is_not_taken_for_none() -> None:
    facts = replace(WELL, bundle=Bundle("/d/alpha.pem", made_later=True))
    assert "made at the first start" in one(facts, "bundle").text
    assert "--config" in one(replace(facts, daemon=UP), "bundle").text


def test_another_format_of_the_store_is_named() -> None:
    (line,) = [f for f in of(home(store_format=3), "disk") if f.level == "fail"]
    assert line.text == "the store in /h/alpha has format 3, this version reads 1"


def test_a_key_at_two_places_is_said_and_revoked_nodes_are_not_missed() -> None:
    said = "the key of this node is used at two places"
    node = msgspec.structs.replace(SELF, warnings=[said])
    revoked = msgspec.structs.replace(CHARLIE, revoked="stolen")
    facts = replace(WELL, daemon=msgspec.structs.replace(UP, node=node, peers=[revoked]))
    assert [f.text for f in of(facts, "daemon") if f.level == "warn"] == [said]
    assert [f.text for f in of(facts, "neighbours")] == ["in reach: bravo (for 12 min)"]


def test_loops_that_are_not_well_are_named() -> None:
    loop = LoopView("announcing", "late", 60.0, 5.0, 0, "", "announcing: late")
    facts = replace(
        WELL, daemon=msgspec.structs.replace(UP, node=msgspec.structs.replace(SELF, loops=[loop]))
    )
    assert [f.text for f in of(facts, "daemon") if f.level == "warn"] == ["announcing: late"]


def test_cuda_is_named_since_it_is_large() -> None:
    assert "for CPUs only" in one(WELL, "torch").text
    assert "a build for CUDA" in one(replace(WELL, cuda=True), "torch").text


def test_a_date_that_no_calendar_has_is_shown_all_the_same() -> None:
    facts = replace(WELL, bundle=replace(BUNDLE, until_s=1e30), clock=Clock(1e30, None, None))
    assert findings(facts)
