"""Who may do what on the page: checked before any request reaches its routes (`muster/http/access.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from muster.dashboard.http.answers import problem
from muster.http.access import OPERATOR, Access, foreign, host_of
from muster.http.address import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METRICS = "/metrics"  # for Prometheus
OPEN_PATHS = ("/api/session", "/api/openapi.json")  # without a token
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def _tells(path: str) -> bool:
    """Whether something about the node is said there; all else is the page's files."""
    return path.startswith("/api/") or path == METRICS


class Guard:
    """ASGI middleware: lets through, with `scope["role"]`, or answers itself."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                if _tells(path):
                    headers["cache-control"] = "no-store"
            await send(message)

        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        scope["role"] = self._access.role(headers)
        refusal = self._refusal(headers, path, method, scope["role"])
        if refusal is not None:
            status, sentence = refusal
            await problem(status, "refused", sentence)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _refusal(self, headers: Headers, path: str, method: str, role: str | None) -> tuple[int, str] | None:
        loopback_only = not self._access.tokens
        if loopback_only and not is_loopback(host_of(headers.get("host", ""))):
            return 403, self._foreign(headers) or ""
        if not _tells(path):
            return None  # the page itself holds no secrets, and may be linked to from anywhere
        if (sentence := self._foreign(headers)) is not None:
            return 403, sentence
        if path in OPEN_PATHS:
            return None
        if role is None:
            return 401, "a token is wanted: open the address that the terminal showed, with its #token="
        if method not in ("GET", "HEAD") and role != OPERATOR:
            return 403, "you are a viewer: viewers look and do not touch"
        return None

    def _foreign(self, headers: Headers) -> str | None:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        return foreign(headers.get("host", ""), origin, site, loopback_only=not self._access.tokens)
