"""The simple commands against a fake node: what they ask, what they print, how they fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakenode import JOB, FakeNode, job_view, snapshot

import muster
from muster.cli.main import COMMANDS, run
from muster.errors import MusterError
from muster.node.api.client import Client, choose
from muster.node.api.commit_detail import ForecastView, RoundWhyView, WhyView
from muster.node.api.plan_view import PlannedNode, PlannedRound, PlanView
from muster.node.api.snapshot import (
    EnergyView,
    LeftView,
    LoopView,
    NodeEvent,
    PowerView,
    SharedView,
    StoredJobView,
    UnlinkedView,
)
from muster.protocol.envelope import decode, unpack
from muster.protocol.records import Revocation, Stop

Capture = pytest.CaptureFixture[str]


def test_help_lists_every_command_and_each_has_help(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  {name} " in listed
        assert run([name, "--help"]) == 0
        assert "Usage: muster " + name in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from muster.cli.main import run; run(['--help']); import muster;"
        "heavy = {'torch', 'numpy', 'zenoh', 'rich', 'asyncio', 'cryptography', 'msgspec'};"
        "heavy &= set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_command_or_option_is_one_sentence(capsys: Capture) -> None:
    assert run(["trian"]) == 2
    assert capsys.readouterr().err == "muster: there is no command 'trian'; did you mean 'train'?\n"
    assert run(["train", "digits", "--rouns", "3"]) == 2
    assert "--rouns" in capsys.readouterr().err
    assert run(["train", "digits", "--bytes", "many"]) == 2
    assert "write 300000, 300kB or 20MB" in capsys.readouterr().err
    assert run(["train"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_errors_as_json(capsys: Capture) -> None:
    assert run(["jobs", "--json"]) == 5
    error = json.loads(capsys.readouterr().err)["error"]
    assert error == {
        "code": "no_node",
        "sentence": "no node runs on this machine: start one with 'muster node'",
    }


def test_a_fault_of_ours_is_one_sentence_with_a_trace_file(
    alpha: FakeNode, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("muster.node.api.client.choose", lambda node: 1 / 0)
    assert run(["jobs"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    trace = next(tmp_path.glob("muster-*-crash.log"))
    assert str(trace) in said
    assert "ZeroDivisionError" in trace.read_text()
    monkeypatch.setenv("MUSTER_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["jobs"])


def test_train_follows_to_the_end(alpha: FakeNode, capsys: Capture) -> None:
    alpha.events = [
        NodeEvent(8, 0.0, "job", "alpha asks for help", JOB, "alpha"),
        NodeEvent(9, 0.0, "job", "another job", "00" * 32, "alpha"),
        NodeEvent(10, 0.0, "end", "3 rounds done", JOB, "alpha"),
    ]
    assert (
        run(
            [
                "train",
                "digits",
                "--rounds",
                "3",
                "--lr",
                "0.1",
                "--bytes",
                "20MB",
                "--joules",
                "2Wh",
                "--bytes-node",
                "5MB",
                "--patience",
                "5",
                "--linger",
                "9",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "alpha asks for help" in out
    assert "another job" not in out
    assert "round 3/3: accuracy 93.4 %, 123 kB sent" in out
    assert "finished: 3 rounds done" in out
    assert "shares: alpha 75 %, bravo 25 %" in out
    assert f"muster export {JOB[:8]}" in out
    asked = next(request for request in alpha.requests if request["op"] == "train")
    assert asked == {
        "op": "train",
        "task": "digits",
        "rounds": 3,
        "lr": 0.1,
        "bytes": 20_000_000,
        "bytes_node": 5_000_000,
        "joules": 7200.0,
        "patience_s": 5.0,
        "linger_s": 9.0,
    }
    assert {"op": "events", "since": 7} in alpha.requests


def test_train_as_json_is_one_value(alpha: FakeNode, capsys: Capture) -> None:
    assert run(["train", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 0.934


def test_train_detached_from_a_file(alpha: FakeNode, capsys: Capture, tmp_path: Path) -> None:
    start = tmp_path / "m.safetensors"
    assert run(["train", "digits", "--from", str(start)]) == 8
    assert "to start from" in capsys.readouterr().err
    start.write_bytes(b"x")
    assert run(["train", "digits", "--from", str(start), "--detach", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"job": JOB}
    assert alpha.requests[-1]["from"] == str(start)


def test_train_says_what_the_node_refuses(alpha: FakeNode, capsys: Capture) -> None:
    alpha.answers["train"] = ("unknown_task", "there is no task 'digist'; installed: digits")
    assert run(["train", "digist"]) == 6
    assert capsys.readouterr().err == "muster: there is no task 'digist'; installed: digits\n"


def test_train_with_a_timeout_leaves_the_job_running(alpha: FakeNode, capsys: Capture) -> None:
    alpha.answers["snapshot"] = lambda request: snapshot(jobs=[job_view("running", 1)])
    assert run(["train", "digits", "--timeout", "0.1"]) == 17
    assert f"goes on: end it with 'muster stop {JOB[:8]}'" in capsys.readouterr().err


def test_train_of_a_job_that_fails(alpha: FakeNode, capsys: Capture) -> None:
    failed = job_view("failed", 0, None, error="no node offered work")
    alpha.answers["snapshot"] = lambda request: snapshot(jobs=[failed])
    assert run(["train", "digits"]) == 19
    assert "no node offered work" in capsys.readouterr().err


def test_ctrl_c_detaches_and_says_how_to_stop(
    alpha: FakeNode, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("muster.cli.follow.follow", interrupted)
    assert run(["train", "digits"]) == 130
    assert f"goes on without you; end it with: muster stop {JOB[:8]}" in capsys.readouterr().err


def test_stop_nodes_jobs_log_export_tasks(alpha: FakeNode, capsys: Capture, tmp_path: Path) -> None:
    assert run(["stop", "abab", "--reason", "enough"]) == 0
    assert alpha.requests[-1] == {"op": "stop", "job": "abab", "reason": "enough"}
    assert run(["nodes"]) == 0
    out = capsys.readouterr().out
    assert "bravo    neighbour  training     50 %      1.2 s  104 ms  110 kB/s" in out
    assert "charlie  away" in out
    assert "not understood on alpha: bravo sends what is new" in out
    assert "refused on alpha: 64 records by charlie, which is not heard for some minutes: it goes on" in out
    assert "by bravo" not in out
    assert run(["jobs"]) == 0
    assert "abababab  digits  finished    3/3  accuracy 93.4 %" in capsys.readouterr().out
    assert run(["log", "abab"]) == 0
    out = capsys.readouterr().out
    assert "efefefef 3 12 s 0 B - 93.4 % 2 alpha alpha bravo" in " ".join(out.split())
    assert "75 %  12.3 kB" in out
    assert "width" not in out
    alpha.answers["log"] = {"job": job_view(width=0.5), "commits": []}
    assert run(["log", "abab"]) == 0
    assert "\n  a model of width 0.5, 10.9 kB\n" in capsys.readouterr().out
    assert run(["export", "abab", "--to", str(tmp_path / "m.onnx")]) == 0
    assert str(tmp_path / "m.onnx") in capsys.readouterr().out
    assert run(["export", "abab", "--to", str(tmp_path / "no" / "m.onnx")]) == 2
    assert "make it first" in capsys.readouterr().err
    assert run(["tasks"]) == 0
    assert "digits        1  cdcdcdcd           3018      180" in capsys.readouterr().out


def test_nodes_shows_what_owners_let_others_use_yet(alpha: FakeNode, capsys: Capture) -> None:
    assert run(["nodes"]) == 0
    assert "LEFT TODAY" not in capsys.readouterr().out
    said = "it has given its 20 MB of today; again from 00:00"
    seen = snapshot(left=LeftView(12_300_000, 400.0, 18_600.0))
    given = msgspec.structs.replace(seen.peers[1], left=LeftView(0, None, None, said), here=0.33, back_s=20.0)
    alpha.answers["snapshot"] = lambda request: msgspec.structs.replace(seen, peers=[seen.peers[0], given])
    assert run(["nodes"]) == 0
    out = capsys.readouterr().out
    assert "LEFT TODAY" in out
    assert "12.3 MB, 400 J, 5:10:00" in out
    assert f"charlie takes no part now: {said}" in out
    assert "charlie  away, back in about 20 s" in out
    assert run(["nodes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["peers"][1]["left"] == {"bytes": 0, "joules": None, "available_s": None, "why": said}
    assert found["node"]["left"]["bytes"] == 12_300_000


def test_shared_lists_what_left_the_node(alpha: FakeNode, capsys: Capture) -> None:
    alpha.answers["shared"] = lambda request: []
    assert run(["shared"]) == 0
    assert capsys.readouterr().out == "this node shared nothing of its data\n"
    gone = SharedView("ab" * 32, "digits", "bravo", "means", 12, 240, 900, 3, None, held=False)
    now = SharedView("cd" * 32, "mnist", "alpha", "samples", 100, 6000, 2400, 1, 1e9, held=True)
    alpha.answers["shared"] = lambda request: [gone, now]
    assert run(["shared"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "abababab digits bravo means 12 for 240 900 B before a disk was lost no, the job is over" in out
    assert "cdcdcdcd mnist alpha samples 100 for 6000 2.4 kB 2001-09-09" in out
    assert run(["shared", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["shared"]
    assert [(v["kind"], v["bytes"], v["held"]) for v in found] == [
        ("means", 900, False),
        ("samples", 2400, True),
    ]


def test_train_asks_for_samples(alpha: FakeNode) -> None:
    assert run(["train", "digits", "--share", "always", "--share-bytes", "3kB", "--detach"]) == 0
    asked = next(r for r in alpha.requests if r["op"] == "train")
    assert (asked["share"], asked["share_bytes"]) == ("always", 3000)
    assert run(["train", "digits", "--share", "perhaps"]) == 2


def test_nodes_says_which_meter_there_is(alpha: FakeNode, capsys: Capture) -> None:
    said = "energy is counted by the watts of the preset pi4: 2.7 W idle, 3.625 W training"
    energy = EnergyView(said, PowerView(2.7, 3.625, 3e-6, 3e-6, 0.05), 2.7, 40.5, 0.0)
    alpha.answers["snapshot"] = lambda request: snapshot(energy=energy)
    assert run(["nodes"]) == 0
    assert f"alpha: {said}" in capsys.readouterr().out
    assert run(["nodes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["node"]["energy"]
    assert (found["said"], found["power"]["train_w"], found["used_j"]) == (said, 3.625, 40.5)


def test_log_why_shows_forecast_beside_outcome(alpha: FakeNode, capsys: Capture) -> None:
    row = WhyView(4, "bravo", "stc:0.02", "a job starts so", 592, 587, 0.8, 1.1, 11.0, 9.5, 12, 3.0, 4.0)
    to_all = WhyView(4, "", "stc:0.05", "a job starts so", 1200, None, None, None, 5.0, None)
    whole = RoundWhyView(4, "2 nodes, 12 steps, 2.1 s expected", 2.1, 2.3, 3000, 2990, 6.0, None)
    errors = ForecastView(4, 1.08, 0.22, "rounds took 1.08 times the expected time")
    alpha.answers["log"] = {
        "job": job_view(), "commits": [], "why": [row, to_all], "rounds": [whole], "errors": errors,
    }  # fmt: skip
    assert run(["log", "abab", "--why"]) == 0
    assert alpha.requests[-1] == {"op": "log", "job": "abab", "why": True}
    out = capsys.readouterr().out
    assert "4  2.1 s  2.3 s   3 kB  2.99 kB     6 J    -  2 nodes, 12 steps, 2.1 s expected" in out
    assert "4  bravo      12  stc:0.02   592 B  587 B  0.8 s  1.1 s      11.0  9.5  a job starts so" in out
    assert "4  to all      -  stc:0.05  1.2 kB      -      -      -" in out
    assert out.endswith("\nrounds took 1.08 times the expected time\n")
    alpha.answers["log"] = {"job": job_view(), "commits": []}
    assert run(["log", "abab", "--why"]) == 0
    assert "coordinated no round" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["nodes"], ["jobs"], ["log", "ab"], ["tasks"], ["stop", "ab"]])
def test_json_everywhere(alpha: FakeNode, capsys: Capture, words: list[str]) -> None:
    assert run([*words, "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_tasks_without_a_node_are_the_installed_ones(capsys: Capture) -> None:
    assert run(["tasks"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()] == ["TASK", "digits", "mnist"]
    assert "muster.learning.digits:Digits" in listed


def test_which_node(
    alpha: FakeNode, data_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert choose().home == alpha.home
    assert choose("alpha").home == alpha.home
    assert choose(str(alpha.home)).home == alpha.home
    with pytest.raises(MusterError, match="running here: alpha"):
        choose("bravo")
    with FakeNode(data_home / "bravo") as bravo:
        with pytest.raises(MusterError, match=r"several nodes run on this machine \(alpha, bravo\)"):
            choose()
        monkeypatch.setenv("MUSTER_HOME", str(bravo.home))
        assert choose().home == bravo.home


def test_a_node_that_dies_or_lies_or_is_silent(alpha: FakeNode) -> None:
    alpha.answers["stop"] = None
    with pytest.raises(MusterError, match="ended while it was asked") as caught:
        Client(alpha.home).stop("ab", "")
    assert caught.value.code == "no_node"
    alpha.answers["snapshot"] = {"event": "seven"}
    with pytest.raises(MusterError, match="differ in version"):
        Client(alpha.home).snapshot()
    alpha.answers["tasks"] = ("no_such_code", "x")
    with pytest.raises(MusterError, match="x") as caught:
        Client(alpha.home).tasks()
    assert caught.value.code == "internal"
    alpha.answers["log"] = lambda request: alpha.streaming.wait(1) or None
    with pytest.raises(MusterError, match=r"did not answer 'log' within 0\.05 s") as caught:
        Client(alpha.home, timeout_s=0.05).log("ab")
    assert caught.value.code == "timeout"


def test_from_python(alpha: FakeNode, tmp_path: Path) -> None:
    seen: list[NodeEvent] = []
    alpha.events = [NodeEvent(8, 0.0, "end", "done", JOB)]
    result = muster.train("digits", rounds=3, on_event=seen.append)
    assert (result.accuracy, result.rounds, seen) == (0.934, 3, alpha.events)
    assert result.export(tmp_path / "m.onnx") == [tmp_path / "m.onnx"]


def test_a_fleet_by_hand(data_home: Path, capsys: Capture, alpha: FakeNode, tmp_path: Path) -> None:
    assert run(["fleet", "init", "--name", "orchard"]) == 0
    assert "'orchard'" in capsys.readouterr().out
    assert run(["fleet", "init"]) == 10
    assert "already" in capsys.readouterr().err
    assert run(["fleet", "issue", "bravo", "--to", str(tmp_path / "bravo.pem"), "--json"]) == 0
    issued = json.loads(capsys.readouterr().out)
    assert Path(issued["bundle"]).stat().st_mode & 0o777 == 0o600
    assert run(["fleet", "issue", "b b"]) == 2
    assert run(["fleet", "revoke", "bravo", "--bundle", str(tmp_path / "bravo.pem")]) == 0
    assert alpha.requests[-1]["op"] == "record"
    revocation = record_of(alpha)
    assert isinstance(revocation, Revocation)
    assert (revocation.name, revocation.stands) == ("bravo", (b"\x11" * 32,))
    revoking = ["fleet", "revoke", "bravo", "--bundle", str(tmp_path / "bravo.pem"), "--distrust"]
    assert run(revoking) == 0
    revocation = record_of(alpha)
    assert isinstance(revocation, Revocation)
    assert not revocation.stands
    assert run(["fleet", "revoke", "nobody"]) == 10
    assert run(["stop", "abab", "--as-owner", "--reason", "too dear"]) == 0
    assert record_of(alpha) == Stop(bytes.fromhex(JOB), "too dear")


def record_of(node: FakeNode) -> object:
    """The record that the last request gave the node."""
    assert node.requests[-1]["op"] == "record"
    return decode(unpack(bytes.fromhex(node.requests[-1]["wire"])).body)


def test_node_check_reads_the_configuration(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('name = "alpha"\nconnect = ["10.0.0.1:7447"]\n')
    assert run(["node", "--config", str(path), "--connect", "10.0.0.2:1", "--no-discovery", "--check"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert (read["name"], read["connect"], read["discovery"]) == ("alpha", ["10.0.0.2:1"], False)
    path.write_text("name = ")
    assert run(["node", "--config", str(path)]) == 3
    assert "line 1" in capsys.readouterr().err


def test_nodes_says_why_a_configured_neighbour_has_no_link(alpha: FakeNode, capsys: Capture) -> None:
    why = "no machine has the address 10.0.0.2 now: it is off, or has another address"
    unlinked = [UnlinkedView("10.0.0.2:7447", "no host", why)]
    alpha.answers["snapshot"] = lambda request: snapshot(home=str(alpha.home), unlinked=unlinked)
    assert run(["nodes"]) == 0
    assert f"no link to 10.0.0.2:7447: {why}\n" in capsys.readouterr().out
    assert run(["nodes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["node"]["unlinked"][0]["kind"] == "no host"


def test_a_node_that_is_not_well_says_so(alpha: FakeNode, capsys: Capture) -> None:
    assert run(["nodes"]) == 0
    assert "not well" not in capsys.readouterr().out
    loops = [
        LoopView("the announcer", "restarting", None, None, 3, "ValueError: no use", "the announcer: bad"),
        LoopView("the watchdog", "well", 1.0, 2.0, 0, ""),
    ]
    alpha.answers["snapshot"] = lambda request: snapshot(home=str(alpha.home), loops=loops)
    assert run(["nodes"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "not well on alpha: the announcer: bad"
    assert run(["nodes", "--json"]) == 0
    loops_told = json.loads(capsys.readouterr().out)["node"]["loops"]
    assert [loop["name"] for loop in loops_told] == ["the announcer", "the watchdog"]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (None, "digits  "),
        ([], "digits, adapt  "),
        (["cam1", "cam2"], "digits, adapt for cam1, cam2  "),
        ([f"cam{i}" for i in range(1, 8)], "digits, adapt for cam1, cam2, cam3, cam4 and 3 more  "),
    ],
)
def test_jobs_say_for_whom_they_adapt(
    alpha: FakeNode, capsys: Capture, nodes: list[str] | None, said: str
) -> None:
    stored = StoredJobView("cd" * 32, "digits", "alpha", "finished", "", 2, 2, adapts=True)
    alpha.answers["stored_jobs"] = lambda request: [stored]
    alpha.answers["snapshot"] = lambda request: msgspec.structs.replace(
        snapshot(home=str(alpha.home), jobs=[job_view(adapts_for=nodes)]), stored_jobs=1
    )
    assert run(["jobs"]) == 0
    _, old, new = capsys.readouterr().out.splitlines()
    assert f"cdcdcdcd  {'digits, adapt  ' if nodes is None else 'digits, adapt'}" in old
    assert f"abababab  {said}" in new


def test_jobs_that_left_memory_are_listed(alpha: FakeNode, capsys: Capture) -> None:
    stored = [
        StoredJobView(f"{number:064x}", "digits", "alpha", "finished", "", 2, 2, "accuracy", 0.5)
        for number in range(30)
    ]

    def answer(request: dict[str, Any]) -> list[StoredJobView]:
        end = len(stored) - request["skip"]
        return stored[max(0, end - request["limit"]) : end]

    alpha.answers["stored_jobs"] = answer
    alpha.answers["snapshot"] = lambda request: msgspec.structs.replace(
        snapshot(home=str(alpha.home), jobs=[job_view()]), stored_jobs=30
    )
    assert run(["jobs"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 1 + 20 + 1 + 1
    assert out[-1] == "10 older ones: muster jobs --all"
    assert out[-2].startswith("abababab")
    assert "2/2" in out[1]
    assert run(["jobs", "--all", "--json"]) == 0
    assert [j["id"] for j in json.loads(capsys.readouterr().out)] == [v.id for v in stored] + [job_view().id]


@pytest.mark.parametrize("command", [["plan", "digits"], ["train", "digits", "--dry-run"]])
def test_plan_shows_what_a_job_would_take_and_asks_nobody(
    alpha: FakeNode, capsys: Capture, command: list[str]
) -> None:
    mine = PlannedNode("alpha", 12, "stc:0.05", 0.0123, 2.1, 1500, 0.0, "measured here")
    first = PlannedRound(1, "1 node, 12 steps, 2.1 s expected", 2.1, 1500, 0.0)
    found = PlanView("digits", [mine], [first], 28, True, 59.0, 42_000, 0.0, ["about 28 rounds fit"])
    alpha.answers["plan"] = found
    assert run([*command, "--seconds", "60", "--codec", "stc:0.05"]) == 0
    assert alpha.requests[-1] == {"op": "plan", "task": "digits", "seconds": 60.0, "codec": "stc:0.05"}
    assert "train" not in {request["op"] for request in alpha.requests}
    out = capsys.readouterr().out
    assert "alpha     12  stc:0.05  12.3 ms  2.1 s  1.5 kB       -  measured here" in out
    assert "1  2.1 s  1.5 kB       -  1 node, 12 steps, 2.1 s expected" in out
    assert "1 to 28" in out
    assert out.endswith("about 28 rounds fit\n")
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rounds_planned"] == 28
