"""A page with nothing behind it: a feed, and clients that note what they are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from muster.dashboard.feed import Feed
from muster.dashboard.http.app import AppDeps, build
from muster.dashboard.page import header
from muster.errors import MusterError
from muster.http.access import OPERATOR, VIEWER, Access

TOKENS = {"operator-token": OPERATOR, "viewer-token": VIEWER}


@dataclass
class FakeClients:
    """Node and emulator in one."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    links: list[Any] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)

    async def ask(self, op: str, timeout_s: float, **arguments: Any) -> Any:
        self.asked.append((op, arguments))
        answer = self.answers.get(op, {})
        if isinstance(answer, MusterError):
            raise answer
        return answer(arguments) if callable(answer) else answer

    async def set_link(self, request: Any) -> None:
        self.links.append(request)

    async def apply(self, fault: Any) -> None:
        self.faults.append(fault)


@dataclass
class Made:
    app: Any
    feed: Feed
    clients: FakeClients


def make(*, tokens: bool = False, emulated: bool = True, clock: Any = None) -> Made:
    feed = Feed(header("a test", emulated=emulated), *([clock] if clock else []))
    clients = FakeClients()
    access = Access(TOKENS, "muster_7450") if tokens else Access()
    app = build(AppDeps(feed, access, clients, clients if emulated else None))
    return Made(app, feed, clients)
