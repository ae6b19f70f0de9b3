"""A job whose rounds a test makes, served by a fake node."""

from __future__ import annotations

from typing import Any

from fakenode import JOB, FakeNode

from muster.node.api.rounds.schema import Part, Round, Rounds


def a_round(number: int, **more: Any) -> Round:
    """Round `number` of a job with two nodes; its commit is the number in hex."""
    share = 0.75 if number % 2 else 0.5
    plain: dict[str, Any] = {
        "number": number,
        "commit": commit(number),
        "age_s": 2.5 * number,
        "coordinator": "alpha",
        "kind": "round",
        "metrics": {"accuracy": 1 - 1 / (number + 1), "loss": 1 / number},
        "measured": 360,
        "contributions": {
            "alpha": Part(1, 20, 640, 0, share, 0.125),
            "bravo": Part(1, 10, 320, 1, round(1 - share, 2)),
        },
        "steps": 30,
        "examples": 960,
        "bytes": 1000 * number,
        "bytes_total": 500 * number * (number + 1),
        "joules": 20.0 * number,
    }
    return Round(**{**plain, **more})


def commit(number: int) -> str:
    return f"{number:064x}"


class ScriptedJob:
    """`rounds` that are done; the answers come in pages of `page`."""

    def __init__(self, rounds: int = 0, page: int = 2) -> None:
        self.rounds = [a_round(n) for n in range(1, rounds + 1)]
        self.page = page
        self.state = "running"
        self.asked: list[tuple[str, int]] = []

    def at(self, node: FakeNode) -> None:
        node.answers["rounds"] = self.answer

    def do(self, count: int = 1) -> None:
        """Further rounds are done."""
        self.rounds += [a_round(len(self.rounds) + i + 1) for i in range(count)]

    def finish(self) -> None:
        self.state = "finished"

    def answer(self, request: dict[str, Any]) -> Rounds:
        after, number = request["after"], request["number"]
        self.asked.append((after, number))
        known = [r.commit for r in self.rounds]
        left = self.rounds[known.index(after) + 1 :] if after in known else self.rounds
        left = [r for r in left if after in known or r.number > number]
        return Rounds(
            job=JOB,
            task="digits",
            state=self.state,
            why="3 rounds done",
            over=self.state in ("finished", "stopped"),
            error="the trainer died" if self.state == "failed" else None,
            age_s=100.0,
            metrics={"accuracy": "max", "loss": "min"},
            recipe={"lr": 0.1, "codec": "auto"},
            rounds=left[: self.page],
            more=len(left) > self.page,
            event=7,
        )
