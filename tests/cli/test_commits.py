"""show, diff, log --graph and train --from a commit, against a fake node."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from fakenode import JOB, FakeNode, job_view

import muster
from muster.cli.main import run
from muster.node.api.commit_detail import CommitDetail, CountedView, DiffView, DiscardedView, MovedView
from muster.node.api.snapshot import CommitView

Capture = pytest.CaptureFixture[str]
A, B, M = "0a" * 32, "0b" * 32, "0c" * 32


def commit(commit_id: str, parents: list[str], **more: object) -> CommitView:
    known = CommitView(
        commit_id, parents, 7, "alpha", 2, ["alpha", "bravo"], 61.0, 0.934, 0.2, True, 2310,
        figures={"accuracy": 0.934, "loss": 0.2},
    )  # fmt: skip
    return msgspec.structs.replace(known, **more)


DETAIL = CommitDetail(
    job=JOB,
    task="digits",
    commit=commit(M, [A]),
    children=[B],
    head=False,
    counted=[
        CountedView("alpha", 0xAF, 3, 20, 640, 0, 0.75),
        CountedView("bravo", 0x10, 2, 7, 224, 1, 0.25),
    ],
    counted_in_all=13,
    discarded=[DiscardedView("charlie", 1, 4, "not finite")],
    roster=["alpha", "bravo", "charlie"],
    examples=359,
    params="11" * 32,
    params_bytes=10936,
    delta_bytes=2310,
    delta_codec="top5+q4",
    residual_norm=0.125,
)


@pytest.fixture
def answering(alpha: FakeNode) -> FakeNode:
    moved = MovedView("0.weight", [16, 64], 4.0, 0.5, 0.031)
    alpha.answers["show"] = DETAIL
    alpha.answers["diff"] = DiffView(
        commit(A, []), commit(B, [], figures={"loss": 0.2}), True, [DETAIL.counted[0]], [], [moved]
    )
    return alpha


def test_show(answering: FakeNode, capsys: Capture) -> None:
    assert run(["show", "0c0c"]) == 0
    assert answering.requests[-1] == {"op": "show", "commit": "0c0c"}
    out = capsys.readouterr().out
    for line in (
        f"commit      {M}\n",
        "parents     0a0a0a0a\n",
        "children    0b0b0b0b\n",
        "round       7, 61 s after the job began\n",
        "by          alpha\n",
        "figures     accuracy 93.4 %, loss 0.2 on 359 samples\n",
        "parameters  10.9 kB, as a difference 2.31 kB (top5+q4), residual 0.125\n",
        "held here   yes\n",
        "roster      alpha bravo charlie\n",
        "counted     2 updates, 13 with all before\n",
        "bravo    16.2      7       224          1  0.2500\n",
        "charlie       1.4  not finite\n",
    ):
        assert line in out
    assert max(map(len, out.splitlines())) <= 80
    assert run(["show", "0c0c", "--json"]) == 0
    assert msgspec.convert(json.loads(capsys.readouterr().out), CommitDetail) == DETAIL


def test_show_a_merge_and_a_root(answering: FakeNode, capsys: Capture) -> None:
    merge = commit(M, [A, B], coordinator="", figures={}, held=False, bytes=0)
    answering.answers["show"] = msgspec.structs.replace(
        DETAIL, commit=merge, head=True, counted=[], discarded=[], examples=0, children=[], delta_bytes=None
    )
    assert run(["show", "0c0c"]) == 0
    out = capsys.readouterr().out
    assert f"{M} (head)\n" in out
    assert "parents     0a0a0a0a 0b0b0b0b\n" in out
    assert "by          nobody: a merge is computed by every node for itself\n" in out
    assert "figures     -\n" in out
    assert "held here   no\n" in out
    assert "STEPS" not in out


def test_diff(answering: FakeNode, capsys: Capture) -> None:
    assert run(["diff", "0a0a", "0b0b"]) == 0
    assert answering.requests[-1] == {"op": "diff", "a": "0a0a", "b": "0b0b"}
    out = capsys.readouterr().out
    assert ["a", "0a0a0a0a", "7", "alpha", "93.4", "%", "0.2", "61", "s"] in map(str.split, out.splitlines())
    assert "counted by a only: 1 updates\n" in out
    assert "all that b counts, a counts too\n" in out
    assert "0.weight  16x64     4    0.5   12.5 %    0.031\n" in out
    assert "a pruning" not in out
    answering.answers["diff"] = msgspec.structs.replace(answering.answers["diff"], pruned=True)
    assert run(["diff", "0a0a", "0b0b"]) == 0
    assert "a pruning lies between them: layers are compared on the channels" in capsys.readouterr().out
    assert run(["diff", "0a0a", "0b0b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][0]["moved"] == 0.5


def test_an_unknown_commit_is_one_sentence(answering: FakeNode, capsys: Capture) -> None:
    answering.answers["show"] = ("unknown_commit", "no commit here begins with '0d0d'")
    assert run(["show", "0d0d"]) == 20
    assert capsys.readouterr().err == "muster: no commit here begins with '0d0d'\n"


def test_log_draws_the_graph(answering: FakeNode, capsys: Capture) -> None:
    commits = [
        commit(A, ["0e" * 32]),
        commit(B, ["0e" * 32], age_s=62.0),
        commit(M, [A, B], coordinator="", nodes=[], bytes=0, age_s=62.0, round=8),
        commit("0e" * 32, [], age_s=1.0, nodes=[]),
    ]
    answering.answers["log"] = {"job": job_view(head=M), "commits": commits}
    assert run(["log", "abab", "--graph"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "*    0c0c0c0c  round 8    merge             93.4 %         -  head",
        "|\\",
        "| *  0b0b0b0b  round 7    alpha   2 nodes   93.4 %   2.31 kB",
        "* |  0a0a0a0a  round 7    alpha   2 nodes   93.4 %   2.31 kB",
        "|/",
        "*    0e0e0e0e  round 7    alpha             93.4 %   2.31 kB",
    ]


def test_train_from_a_commit_or_a_file_of_that_name(
    answering: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)

    def asked() -> object:
        return next(r for r in reversed(answering.requests) if r["op"] == "train")["from"]

    assert run(["train", "digits", "--from", "0A0A0a0a", "--detach"]) == 0
    assert asked() == "0a0a0a0a"
    muster.train("digits", start="0b0b0b0b")
    assert asked() == "0b0b0b0b"
    (tmp_path / "0a0a0a0a").write_bytes(b"x")  # an existing path wins
    assert run(["train", "digits", "--from", "0a0a0a0a", "--detach"]) == 0
    assert asked() == str(tmp_path / "0a0a0a0a")
    for neither in ("0a0", "0a0g", "f" * 65, "model.safetensors"):
        assert run(["train", "digits", "--from", neither, "--detach"]) == 8
    assert "a commit is 4 or more hex digits" in capsys.readouterr().err
