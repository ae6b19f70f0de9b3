"""`muster track` to CSV and JSON lines: every round once, whatever happened in between."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakenode import JOB, FakeNode
from scripted import ScriptedJob, a_round, commit

from muster.cli.main import run
from muster.node.api.rounds.schema import Round
from patience import patient_s


def in_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def in_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def track(path: Path, *more: str, kind: str = "") -> int:
    return run(["track", JOB[:8], "--to", f"{kind or path.suffix[1:]}:{path}", *more])


def test_what_is_done_is_written_once(job: ScriptedJob, tmp_path: Path, capsys: Any) -> None:
    table, lines = tmp_path / "a" / "t.csv", tmp_path / "t.jsonl"
    assert run(["track", JOB, "--to", f"csv:{table}", "--to", f"jsonl:{lines}", "--once"]) == 0
    assert f"csv:{table}: 3 rounds written, up to round 3" in capsys.readouterr().err
    rows = in_csv(table)
    assert [row["round"] for row in rows] == ["1", "2", "3"]
    assert rows[1] == {
        "job": JOB[:8], "round": "2", "commit": commit(2), "age_s": "5.0",
        "accuracy": str(1 - 1 / 3), "loss": "0.5",
        "measured": "360", "participants": "2", "nodes": "alpha bravo", "shares": "alpha=0.5000 bravo=0.5000",
        "steps": "30", "examples": "960", "bytes": "2000", "bytes_total": "3000", "kind": "round",
    }  # fmt: skip
    first = in_jsonl(lines)[0]
    assert (first.pop("job"), first.pop("task"), first.pop("round")) == (JOB, "digits", 1)
    assert msgspec.convert({**first, "number": 1}, Round) == a_round(1)
    assert first["contributions"]["bravo"]["late"] == 1


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_it_goes_on_where_it_was(job: ScriptedJob, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{kind}"
    rounds = in_csv if kind == "csv" else in_jsonl
    for done in (3, 3, 4, 9):
        job.do(done - len(job.rounds))
        assert track(path, "--once") == 0
        assert [int(row["round"]) for row in rounds(path)] == list(range(1, done + 1))
    assert job.asked[-1][0] == commit(8)  # it asks for what it has not, page by page


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_line_that_a_crash_cut_off_is_written_again(
    job: ScriptedJob, kind: str, cut: int, tmp_path: Path
) -> None:
    path = tmp_path / f"t.{kind}"
    assert track(path, "--once") == 0
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert track(path, "--once") == 0
    assert path.read_bytes() == whole


def test_a_cut_off_head_is_written_again(job: ScriptedJob, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"job,rou")
    assert track(path, "--once") == 0
    assert len(in_csv(path)) == 3


def test_a_file_of_something_else_is_left_alone(job: ScriptedJob, tmp_path: Path, capsys: Any) -> None:
    other = "cd" * 32
    for name, text, word in (
        ("a.csv", "name,price\nx,3\n", "does not begin with the columns"),
        ("b.csv", None, f"holds the job {other[:8]}"),
        ("a.jsonl", '{"name": 3}\n', "none that this command wrote"),
        ("c.jsonl", "[]\n", "none that this command wrote"),
        ("b.jsonl", json.dumps({"job": other, "commit": "a", "round": 3}) + "\n", "holds the job cdcdcdcd"),
    ):
        path = tmp_path / name
        if text is None:
            assert track(path, "--once") == 0
            text = path.read_text().replace(JOB[:8], other[:8])
        path.write_text(text)
        assert track(path, "--once") == 2
        assert word in capsys.readouterr().err
        assert path.read_text() == text


def test_columns_are_those_of_the_file(job: ScriptedJob, tmp_path: Path) -> None:
    """A metric that comes later has no column; one that a round lacks leaves its cell empty."""
    path = tmp_path / "t.csv"
    assert track(path, "--once") == 0
    job.rounds += [a_round(4, metrics={"f1": 0.5, "loss": 1.5}), a_round(5, metrics={})]
    assert track(path, "--once") == 0
    assert [(row["accuracy"], row["loss"]) for row in in_csv(path)[3:]] == [("", "1.5"), ("", "")]


def test_it_follows_until_the_end(job: ScriptedJob, alpha: FakeNode, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "t.jsonl"
    job.rounds[-1] = a_round(3, settled=False, metrics={})
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(track(path)))
    thread.start()
    wait_for(lambda: path.exists() and len(in_jsonl(path)) == 2)
    assert thread.is_alive()  # the figures of round 3 are not there
    job.rounds[-1] = a_round(3)
    wait_for(lambda: len(in_jsonl(path)) == 3)
    job.do(4)
    job.rounds[-1] = a_round(7, settled=False, metrics={})
    job.finish()
    thread.join(patient_s(20))
    assert codes == [0]
    rows = in_jsonl(path)
    assert [row["round"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert rows[2]["metrics"]["loss"] == pytest.approx(1 / 3)
    assert rows[6]["metrics"] == {}  # it was waited for, in vain
    assert "is finished" in capsys.readouterr().err


def test_a_node_that_comes_back_is_gone_on_with(
    job: ScriptedJob, alpha: FakeNode, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "t.jsonl"
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(track(path)))
    thread.start()
    wait_for(lambda: path.exists() and len(in_jsonl(path)) == 3)
    told: list[str] = []

    def waits(times: int) -> bool:
        told.append(capsys.readouterr().err)
        return "".join(told).count("waits for it") == times

    alpha.__exit__()
    wait_for(lambda: waits(1))  # one that is back before it was missed is no absence
    job.do(3)
    with FakeNode(alpha.home) as again:
        job.at(again)
        wait_for(lambda: len(in_jsonl(path)) == 6)
        again.answers["rounds"] = ("unknown_job", "it lost its disk")
        wait_for(lambda: waits(2))
        job.do(1)
        job.finish()
        job.at(again)
        thread.join(patient_s(20))
    alpha.__enter__()
    assert codes == [0]
    assert [row["round"] for row in in_jsonl(path)] == [1, 2, 3, 4, 5, 6, 7]
    assert waits(2)


def test_two_writers_of_one_file(job: ScriptedJob, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "t.csv"
    assert run(["track", JOB, "--to", f"csv:{path}", "--to", f"csv:{tmp_path}/./t.csv", "--once"]) == 2
    assert "another process writes" in capsys.readouterr().err


def test_rounds_go_to_standard_output(job: ScriptedJob, capfdbinary: Any) -> None:
    job.finish()
    assert run(["track", JOB, "--to", "jsonl:-", "--to", "csv:-"]) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert len(lines) == 3 + 1 + 3


def test_a_failed_job_says_why(job: ScriptedJob, tmp_path: Path, capsys: Any) -> None:
    job.state = "failed"
    assert track(tmp_path / "t.csv") == 19
    assert "the trainer died" in capsys.readouterr().err
    assert len(in_csv(tmp_path / "t.csv")) > 0


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("tensorbord:x", "did you mean tensorboard:x?"),
        ("wandb:x", "use one of tensorboard, mlflow, csv, jsonl"),
        ("csv", "write csv:FILE"),
        ("csv: ", "write csv:FILE"),
        ("csv:/proc/x/y.csv", "cannot be written"),
        ("tensorboard:/proc/x", "cannot be a directory"),
    ],
)
def test_a_place_that_cannot_be(job: ScriptedJob, place: str, word: str, capsys: Any) -> None:
    assert run(["track", JOB, "--to", place, "--once"]) == 2
    assert word in capsys.readouterr().err


def test_json_says_what_was_written(job: ScriptedJob, tmp_path: Path, capsys: Any) -> None:
    assert track(tmp_path / "t.csv", "--once", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "job": JOB,
        "state": "running",
        "to": {f"csv:{tmp_path}/t.csv": {"round": 3, "written": 3}},
    }


def test_once_does_not_wait_for_a_node(
    job: ScriptedJob, alpha: FakeNode, tmp_path: Path, capsys: Any
) -> None:
    alpha.answers["rounds"] = ("unknown_job", "no job here begins with abab")
    assert track(tmp_path / "t.csv", "--once") == 14
    assert not (tmp_path / "t.csv").exists()


def wait_for(holds: Any, limit_s: float = 20.0) -> None:
    """Another thread gets there; how soon does not matter."""
    end = threading.Event()
    for _ in range(int(patient_s(limit_s) / 0.01)):
        if holds():
            return
        end.wait(0.01)
    raise AssertionError("it did not get there")
