"""use, rollback, field and adapt, against a fake node."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from fakenode import JOB, FakeNode

from muster.cli.main import run
from muster.errors import EXIT_CODES
from muster.node.api.field_view import AskedView, FieldView, MovedView, ServerView

Capture = pytest.CaptureFixture[str]
SERVER = ServerView("http://127.0.0.1:7460/", 1200, 0, 0, 41.0, 6.2, 77.0, 900, "")
OWN = FieldView(
    id="aa" * 32, node="alpha", task="digits", me=True, version="0a0a0a0a", commit="0a" * 32,
    reason="adopted", used_s=61.0, former="base", live_labels=50, live_right=44, held_labels=20, wins=12,
    losses=1, epoch=1, labels=110, labels_wanted=9, need="open", alike=["bravo"],
    waits="the result of its job waits for 9 more held-out labels to be checked on", job=JOB, server=SERVER,
)  # fmt: skip
OTHER = msgspec.structs.replace(
    OWN, id="bb" * 32, node="bravo", me=False, used_s=None, labels=None, labels_wanted=0, waits="", job=None,
    live_labels=0, live_right=0, held_labels=0, need="", alike=[], server=None, version=None, reason="",
)  # fmt: skip


def test_field_shows_a_row_a_node_and_what_is_waited_for(alpha: FakeNode, capsys: Capture) -> None:
    alpha.answers["field"] = [OWN, OTHER]
    assert run(["field"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["NODE", "TASK", "IN", "USE"]
    for text in ("0a0a0a0a", "adopted", "88.0 % of 50", "+12 -1 of 20", "110", "open", "bravo"):
        assert text in lines[1]
    assert lines[2].split() == ["bravo", "digits", *["-"] * 9]
    assert lines[3] == f"alpha, digits: {OWN.waits}"
    assert len(lines) == 4


def test_a_server_that_is_not_well_is_named(alpha: FakeNode, capsys: Capture) -> None:
    sick = msgspec.structs.replace(SERVER, fault="the disk is almost full, so no samples are kept")
    alpha.answers["field"] = [msgspec.structs.replace(OWN, waits="", server=sick)]
    assert run(["field"]) == 0
    assert "alpha, digits: the disk is almost full" in capsys.readouterr().out


def test_field_says_how_to_begin(alpha: FakeNode, capsys: Capture) -> None:
    alpha.answers["field"] = []
    assert run(["field"]) == 0
    assert "muster use" in capsys.readouterr().out
    assert run(["field", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"field": []}


def test_use_names_a_file_by_its_whole_path(
    alpha: FakeNode, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    alpha.answers["use"] = MovedView("digits", "m-1a2b3c4d", "base", "a person said so")
    assert run(["use", "m.safetensors", "--task", "digits", "--force"]) == 0
    asked = {"op": "use", "model": str(tmp_path / "m.safetensors"), "task": "digits", "force": True}
    assert alpha.requests[-1] == asked
    assert capsys.readouterr().out == "digits: m-1a2b3c4d is in use (before: base); a person said so\n"


def test_use_takes_the_beginning_of_a_commit(alpha: FakeNode) -> None:
    alpha.answers["use"] = MovedView("digits", "0a0a0a0a", None, "the first model of this task here")
    assert run(["use", "0a0a"]) == 0
    assert alpha.requests[-1] == {"op": "use", "model": "0a0a", "task": "", "force": False}


def test_a_file_that_is_not_there(alpha: FakeNode, capsys: Capture) -> None:
    assert run(["use", "nothing.safetensors"]) == EXIT_CODES["usage"]
    assert "there is no file nothing.safetensors" in capsys.readouterr().err


def test_a_refusal_has_its_figures_and_its_exit_code(alpha: FakeNode, capsys: Capture) -> None:
    said = "it is right on 31 of 40 held-out labels, the model in use on 36: not used; --force uses it"
    alpha.answers["use"] = ("refused", said)
    assert run(["use", "0a0a"]) == 18
    assert capsys.readouterr().err == f"muster: {said}\n"


def test_rollback_and_adapt(alpha: FakeNode, capsys: Capture) -> None:
    alpha.answers["rollback"] = MovedView("digits", "base", "0a0a0a0a", "the model before it is in use again")
    assert run(["rollback", "digits"]) == 0
    assert "base is in use (before: 0a0a0a0a)" in capsys.readouterr().out
    alpha.answers["adapt"] = AskedView("digits", JOB, ["bravo"])
    assert run(["adapt", "digits"]) == 0
    assert f"job {JOB[:8]}: adapts digits with bravo" in capsys.readouterr().out
    alpha.answers["adapt"] = AskedView("digits", JOB, [])
    assert run(["adapt", "digits"]) == 0
    assert "alone: no node in reach is alike" in capsys.readouterr().out
