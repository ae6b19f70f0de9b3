"""Who may ask a server: the rules of the page (`muster/http/access.py`) for routes that answer programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from muster.http.access import Access, foreign
from muster.serving.http.bodies import Refused, send_problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH = "/v2/health/"  # says nothing of the node: balancers and clients ask it without a token


class ServingGuard:
    """ASGI middleware: lets through, or answers itself."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers, access = Headers(scope=scope), self._access
        sentence = foreign(headers, loopback_only=not access.tokens)
        if sentence is not None:
            await send_problem(send, Refused(403, sentence))
        elif access.tokens and access.role(headers) is None and not scope["path"].startswith(HEALTH):
            await send_problem(
                send,
                Refused(401, "a token is wanted: send 'Authorization: Bearer TOKEN' (HOME/serve/TASK/token)"),
            )
        else:
            await self._app(scope, receive, send)
