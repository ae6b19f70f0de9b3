"""Who may ask a server: the rules of the page (`muster/http/access.py`) for routes that answer programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from muster.http.access import Access, foreign
from muster.serving.http.bodies import Refused, send_problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH = "/v2/health/"  # says nothing of the node: balancers and clients ask it without a token
WANTED = "a token is wanted: send 'Authorization: Bearer TOKEN' (HOME/serve/TASK/token)"


class ServingGuard:
    """ASGI: lets through, or answers itself."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refused = self._refused(scope)
        if refused is None:
            await self._app(scope, receive, send)
        else:
            await send_problem(send, refused)

    def _refused(self, scope: Scope) -> Refused | None:
        host = origin = site = None
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
            elif name == b"origin":
                origin = value.decode("latin-1")
            elif name == b"sec-fetch-site":
                site = value.decode("latin-1")
        access = self._access
        sentence = foreign(host or "", origin, site, loopback_only=not access.tokens)
        if sentence is not None:
            return Refused(403, sentence)
        if (
            access.tokens
            and access.role(Headers(scope=scope)) is None
            and not scope["path"].startswith(HEALTH)
        ):
            return Refused(401, WANTED)
        return None
