"""What a node says while it starts a trainer reaches the person who asked, before there is a job."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from fakenode import JOB, FakeNode, job_view, snapshot

from muster.api import train
from muster.cli import follow
from muster.cli.main import run
from muster.node.api.snapshot import NodeEvent
from patience import patient_s


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A node that answers `train` when somebody has got its first event."""
    monkeypatch.setattr(follow, "PATIENCE_S", 0.01)
    with FakeNode(tmp_path / "alpha") as node:
        monkeypatch.setenv("MUSTER_HOME", str(node.home))
        got = threading.Event()
        node.events = [NodeEvent(8, 0.0, "job", "starts the trainer of digits")]
        waits = [job_view(state="finished", waits=["c takes no part: too few samples"])]
        node.answers["snapshot"] = lambda request: snapshot(jobs=waits)
        node.answers["train"] = lambda request: (
            {"job": JOB} if got.wait(patient_s(10)) else ("internal", "not shown")
        )
        node.answers["log"] = {"job": waits[0], "commits": []}
        yield node, got


def test_the_python_api_gets_it(slow: Any) -> None:
    _, got = slow
    events: list[str] = []

    def on_event(event: NodeEvent) -> None:
        events.append(event.text)
        got.set()

    result = train("digits", on_event=on_event)
    assert events[0] == "starts the trainer of digits"
    assert result.view.waits == ["c takes no part: too few samples"]


def test_the_command_prints_it(slow: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    _, got = slow
    tell = follow.ask

    def ask(client: Any, task: str, options: Any, since: int, on_event: Any) -> Any:
        def told(event: NodeEvent) -> None:
            on_event(event)
            got.set()

        return tell(client, task, options, since, told)

    monkeypatch.setattr(follow, "ask", ask)
    assert run(["train", "digits"]) == 0
    assert "starts the trainer of digits" in capsys.readouterr().err
    assert run(["log", JOB[:8]]) == 0
    assert "  c takes no part: too few samples\n" in capsys.readouterr().out


def test_a_refusal_comes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    with FakeNode(tmp_path / "alpha") as node:
        monkeypatch.setenv("MUSTER_HOME", str(node.home))
        node.answers["train"] = ("unknown_task", "there is no task 'x' on this node")
        assert run(["train", "x"]) == 6
        assert "there is no task 'x'" in capsys.readouterr().err
