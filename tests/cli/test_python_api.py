"""`muster.train`, `follow` and `result` against a node by script: the end, breaks, limits, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakenode import JOB, FakeNode, job_view
from scripted import ScriptedJob

import muster
from muster.cli.main import run
from muster.errors import MusterError
from muster.node.api.rounds import stream
from muster.node.api.snapshot import JobSnapshot
from patience import patient_s


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("POLL_S", 0.01), ("RETRY_S", 0.01), ("GRACE_S", 0.05)):
        monkeypatch.setattr(stream, name, value)


@pytest.fixture
def job(alpha: FakeNode) -> ScriptedJob:
    script = ScriptedJob(rounds=3)
    script.at(alpha)
    view = job_view(figures={"accuracy": 0.934, "loss": 0.2})
    alpha.answers["log"] = {"job": msgspec.structs.replace(view, commits=[]), "commits": view.commits}
    alpha.answers["stop"] = lambda request: script.finish() or {}
    return script


class Noting(muster.Callback):
    """Writes down what it is told; `then(round)` is done at each round."""

    def __init__(self, then: Callable[[muster.Round], Any] = lambda r: None) -> None:
        self.notes: list[Any] = []
        self._then = then

    def on_begin(self, job: JobSnapshot) -> None:
        self.notes.append(("begin", job.task))

    def on_round(self, round: muster.Round) -> bool | None:
        self.notes.append(round.number)
        wanted: bool | None = self._then(round)
        return wanted

    def on_end(self, result: muster.Result) -> None:
        self.notes.append(("end", result.rounds))


def test_rounds_come_until_the_job_ends(job: ScriptedJob) -> None:
    found: list[muster.Round] = []
    for r in muster.follow(JOB[:8]):
        found.append(r)
        if len(job.rounds) < 6:
            job.do()
        else:
            job.finish()
    assert [r.number for r in found] == [1, 2, 3, 4, 5, 6]
    assert found == job.rounds
    assert found[1].metrics["loss"] == 0.5
    assert found[1].participants == ["alpha", "bravo"]
    assert found[1].contributions["bravo"].steps == 10
    assert [r.number for r in muster.follow(JOB, after=4)] == [5, 6]


def test_callbacks_are_told(job: ScriptedJob) -> None:
    job.finish()
    first, second = Noting(), Noting()
    result = muster.train("digits", rounds=3, callbacks=[first, second])
    assert first.notes == second.notes == [("begin", "digits"), 1, 2, 3, ("end", 3)]
    assert (result.job, result.accuracy, result.rounds) == (JOB, 0.934, 3)
    assert list(result.metrics.items()) == [("accuracy", 0.934), ("loss", 0.2)]
    assert len(result.view.commits) == 1


def test_a_callback_may_end_the_job(job: ScriptedJob, alpha: FakeNode) -> None:
    noting = Noting(lambda r: r.number >= 2)
    muster.train("digits", callbacks=[noting])
    stops = [request for request in alpha.requests if request["op"] == "stop"]
    assert [(stop["job"], stop["reason"]) for stop in stops] == [(JOB, "by a callback")]
    assert noting.notes[-1] == ("end", 3)


def test_what_a_callback_raises_comes_out(job: ScriptedJob, alpha: FakeNode) -> None:
    noting = Noting(lambda r: 1 // 0 > 0)
    with pytest.raises(ZeroDivisionError):
        muster.train("digits", callbacks=[noting])
    assert noting.notes == [("begin", "digits"), 1]
    assert "stop" not in [request["op"] for request in alpha.requests]


def test_a_job_that_fails_says_why(job: ScriptedJob) -> None:
    job.state = "failed"
    for use in (lambda: muster.train("digits"), lambda: list(muster.follow(JOB))):
        with pytest.raises(MusterError, match="the trainer died") as caught:
            use()
        assert caught.value.code == "failed"


def test_time_may_be_limited(job: ScriptedJob) -> None:
    for use in (
        lambda: muster.train("digits", timeout_s=0.05),
        lambda: list(muster.follow(JOB, timeout_s=0.05)),
    ):
        with pytest.raises(MusterError, match="goes on: end it with") as caught:
            use()
        assert caught.value.code == "timeout"


def test_an_unknown_job_and_no_node(alpha: FakeNode, data_home: Path) -> None:
    alpha.answers["rounds"] = ("unknown_job", "no job here begins with 'ff'")
    with pytest.raises(MusterError, match="no job here"):
        next(iter(muster.follow("ff")))
    with pytest.raises(MusterError, match="no node runs"):
        muster.follow(JOB, node="bravo")


def test_a_node_that_dies_and_comes_back(job: ScriptedJob, alpha: FakeNode) -> None:
    rounds = iter(muster.follow(JOB))
    assert [next(rounds).number for _ in range(3)] == [1, 2, 3]
    alpha.__exit__()
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(r.number for r in rounds))
    thread.start()
    thread.join(0.05)
    assert (found, thread.is_alive()) == ([], True)
    job.do(2)
    job.finish()
    alpha.__enter__()
    thread.join(patient_s(20))
    assert found == [4, 5]


def test_a_node_that_stays_away_is_given_up(job: ScriptedJob, alpha: FakeNode) -> None:
    rounds = iter(muster.follow(JOB, away_s=0.05))
    next(rounds)
    alpha.__exit__()
    with pytest.raises(MusterError) as caught:
        list(rounds)
    assert caught.value.code == "no_node"
    alpha.__enter__()


def test_a_tracker_is_a_callback(job: ScriptedJob, alpha: FakeNode, tmp_path: Path) -> None:
    job.finish()
    table, runs = tmp_path / "t.csv", tmp_path / "runs"
    muster.train("digits", callbacks=[muster.Tracker(f"csv:{table}", f"tensorboard:{runs}")])
    lines = table.read_text().splitlines()
    assert len(lines) == 4
    assert [len(list(runs.glob(f"digits-{JOB[:8]}/events*")))] == [1]
    assert run(["track", JOB, "--to", f"csv:{table}"]) == 0
    assert table.read_text().splitlines() == lines
    with pytest.raises(MusterError, match="names no tracker"):
        muster.Tracker("cvs")


def test_a_tracker_that_fails_is_tried_again(job: ScriptedJob, alpha: FakeNode, tmp_path: Path) -> None:
    job.finish()
    tracker = muster.Tracker(f"csv:{tmp_path}/t.csv", f"jsonl:{tmp_path}/t.jsonl")
    first = tracker._targets[0]
    write, failures = first.write, [2]

    def failing(view: Any, r: muster.Round) -> None:
        if failures[0]:
            failures[0] -= 1
            raise MusterError("disk_full", "no room")
        write(view, r)

    first.write = failing  # type: ignore[method-assign]
    muster.train("digits", callbacks=[tracker])
    assert [line.split(",")[1] for line in (tmp_path / "t.csv").read_text().splitlines()[1:]] == [
        "1",
        "2",
        "3",
    ]
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 3

    failures[0] = 9
    tracker = muster.Tracker(f"csv:{tmp_path}/u.csv")
    tracker._targets[0].write = failing  # type: ignore[method-assign]
    with pytest.raises(MusterError, match="no room"):
        muster.train("digits", callbacks=[tracker])


def test_events_are_passed_on(job: ScriptedJob, alpha: FakeNode) -> None:
    from muster.node.api.snapshot import NodeEvent

    alpha.events = [
        NodeEvent(8, 0.0, "job", "starts", JOB),
        NodeEvent(9, 0.0, "commit", "of another job", "77" * 32),
        NodeEvent(10, 0.0, "commit", "round 3", JOB),
    ]
    told: list[str] = []

    def on_event(event: NodeEvent) -> None:
        told.append(event.text)
        if event.number == 10:
            job.finish()

    muster.train("digits", on_event=on_event)
    assert told[:2] == ["starts", "round 3"]
    assert "of another job" not in told


SCRIPT = """
import sys, muster
try:
    for r in muster.follow(sys.argv[1]):
        print(r.number, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_the_following(job: ScriptedJob, alpha: FakeNode) -> None:
    env = {**os.environ, "MUSTER_HOME": str(alpha.home)}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, JOB], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(3)] == ["1", "2", "3"]
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().strip() == "interrupted"
        assert process.wait(patient_s(20)) == 0


def test_a_result_may_be_asked_for_later(job: ScriptedJob) -> None:
    result = muster.result(JOB[:6])
    assert (result.job, result.rounds, result.metrics["loss"]) == (JOB, 3, 0.2)
