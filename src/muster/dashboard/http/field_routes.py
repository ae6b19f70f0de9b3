"""The page's API about models in use: use one, go back, label samples; refused as the commands refuse it."""

from __future__ import annotations

from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from muster.dashboard.http.answers import Wrong, answer, body
from muster.dashboard.http.requests import LabelRequest, RollbackRequest, UseRequest
from muster.http.access import OPERATOR

MOVE_S = 600.0  # the model is fetched, exported and compared
SAMPLES = 20


class Node(Protocol):
    """Asks of a node's daemon; raises MusterError."""

    async def ask(self, op: str, timeout_s: float, **arguments: Any) -> Any: ...


class FieldRoutes:
    """See the module."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def use(self, request: Request) -> Response:
        wanted = await body(request, UseRequest)
        given = {"model": wanted.commit, "task": "", "force": wanted.force}
        return answer(await self._node.ask("use", MOVE_S, **given))

    async def rollback(self, request: Request) -> Response:
        wanted = await body(request, RollbackRequest)
        return answer(await self._node.ask("rollback", 60.0, task=wanted.task))

    async def to_label(self, request: Request) -> Response:
        if request.scope["role"] != OPERATOR:
            raise Wrong(403, "refused", "you are a viewer: samples of this node are for its operators")
        task, count = request.query_params.get("task", ""), request.query_params.get("n", str(SAMPLES))
        if not count.isascii() or not count.isdigit() or len(count) > 4:
            raise Wrong(400, "usage", f"n={count[:20]} is no number of samples")
        return answer(await self._node.ask("to_label", 30.0, task=task, n=int(count)))

    async def label(self, request: Request) -> Response:
        wanted = await body(request, LabelRequest)
        given = {"task": wanted.task, "sample": wanted.id, "label": wanted.label, "held": wanted.held}
        await self._node.ask("label", 30.0, **given)
        return answer({"ok": True})
