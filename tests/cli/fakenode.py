"""A control server that plays a node by script: the same protocol, none of the work."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from muster.node.api.rounds.schema import Rounds
from muster.node.api.snapshot import (
    CommitView,
    ContributionView,
    JobSnapshot,
    MetricView,
    NeighbourView,
    NodeEvent,
    PeerView,
    SelfView,
    Snapshot,
    TaskView,
)

JOB = "ab" * 32


def task_view(name: str = "digits") -> TaskView:
    return TaskView(name, "1", "cd" * 32, 3018, 180)


def contribution(name: str = "alpha", share: float = 0.25) -> ContributionView:
    return ContributionView(name, name.encode().hex(), 180, 60, 1920, 3, 0, 1, 0, share, 12345)


def job_view(
    state: str = "finished", round_: int = 3, accuracy: float | None = 0.934, **more: Any
) -> JobSnapshot:
    figures = {"accuracy": accuracy, "loss": 0.2} if accuracy is not None else {}
    plain: dict[str, Any] = {
        "id": JOB,
        "task": "digits",
        "asker": "alpha",
        "state": state,
        "why": "3 rounds done",
        "round": round_,
        "head": "ef" * 32,
        "coordinator": "alpha",
        "accuracy": accuracy,
        "loss": 0.2,
        "measured_examples": 360,
        "age_s": 12.5,
        "spent_bytes": 123456,
        "model_bytes": 10_936,
        "stop": {"rounds": 3},
        "recipe": {"lr": 0.1},
        "plan": None,
        "contributions": [contribution("alpha", 0.75), contribution("bravo", 0.25)],
        "commits": [
            CommitView(
                "ef" * 32,
                [],
                round_,
                "alpha",
                2,
                ["alpha", "bravo"],
                12.0,
                accuracy,
                0.2,
                True,
                figures=figures,
            )
        ],
        "metrics": [MetricView("accuracy", "max", False), MetricView("loss", "min", False)],
        "figures": figures,
    }
    return JobSnapshot(**{**plain, **more})


def snapshot(
    name: str = "alpha", home: str = "/h", jobs: list[JobSnapshot] | None = None, **own: Any
) -> Snapshot:
    plain: dict[str, Any] = {
        "id": name.encode().hex(),
        "name": name,
        "version": "0.1.0",
        "state": "idle",
        "progress": 0.0,
        "battery": 0.83,
        "uptime_s": 5.0,
        "home": home,
        "pid": 1,
        "listen": ["10.77.0.1:7447"],
        "tasks": [task_view()],
        "disk_bytes": 1000,
        "memory_bytes": 60_000_000,
    }
    return Snapshot(
        event=7,
        node=SelfView(**{**plain, **own}),
        neighbours=[NeighbourView("62", "bravo", 4.0, 0.104, 110_000.0, 1000, 2000)],
        peers=[
            PeerView("62", "bravo", "training", 0.5, 1.2, 0.5, 0.01, True, later="bravo sends what is new"),
            PeerView("63", "charlie", "idle", 0.0, 90.0, None, None, False, 64, True),
        ],
        jobs=[] if jobs is None else jobs,
    )


def done() -> Rounds:
    """A job that has ended, of which all rounds were taken."""
    return Rounds(
        JOB, "digits", "finished", "3 rounds done", True, None, 12.5, {"accuracy": "max"}, {}, [], False, 7
    )


class FakeNode:
    """Serves `<home>/control.sock`; `answers` maps an op to a value, a callable, or an (error, sentence)."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.requests: list[dict[str, Any]] = []
        self.events: list[NodeEvent] = []
        self.answers: dict[str, Any | Callable[[dict[str, Any]], Any]] = {
            "clocks": lambda request: ["the clock of bravo says 1970-01-01"],
            "snapshot": lambda request: snapshot(home=str(home), jobs=[job_view()]),
            "train": {"job": JOB},
            "stop": {},
            "record": {},
            "find": {"job": JOB},
            "to_stand": {"stands": ["11" * 32]},
            "tasks": [task_view()],
            "log": {"job": job_view(), "commits": job_view().commits},
            "rounds": lambda request: done(),
            "export": lambda request: {
                "paths": [request["to"]],
                "accuracy": 0.934,
                "commit": "ef" * 32,
                "round": 3,
                "figures": {"accuracy": 0.934},
            },
        }

    def __enter__(self) -> FakeNode:
        self.home.mkdir(parents=True, exist_ok=True)
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    request = json.loads(line)
                    fake.requests.append(request)
                    if request["op"] == "events":
                        for event in fake.events:
                            self.wfile.write(_line({"event": event}))
                        fake.streaming.wait(10)
                        return
                    answer = fake.answers[request["op"]]
                    value = answer(request) if callable(answer) else answer
                    if isinstance(value, tuple):
                        self.wfile.write(_line({"error": {"code": value[0], "sentence": value[1]}}))
                    elif value is None:
                        return  # the node dies
                    else:
                        self.wfile.write(_line({"ok": value}))

        self.streaming = threading.Event()
        self.server = socketserver.ThreadingUnixStreamServer(str(self.home / "control.sock"), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.streaming.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        (self.home / "control.sock").unlink()


def _line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"
