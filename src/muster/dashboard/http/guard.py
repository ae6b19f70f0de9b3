"""Who may do what: token, role, origin and host, checked before any request reaches the page's routes.

On loopback the machine's users are trusted, but not the web pages that they read: a foreign origin, and a
foreign name that was pointed at 127.0.0.1 (DNS rebinding), are refused.  Elsewhere a token is wanted.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from muster.dashboard.http.answers import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPERATOR, VIEWER = "operator", "viewer"
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


@dataclass(frozen=True)
class Access:
    """Who is let in. Without tokens everybody who can connect is an operator: only for loopback."""

    tokens: Mapping[str, str] = field(default_factory=dict)  # token -> role
    cookie: str = "muster"

    @staticmethod
    def for_host(host: str, port: int) -> Access:
        """Fresh tokens when others than this machine can connect to `host`."""
        tokens = {} if is_loopback(host) else {secrets.token_urlsafe(18): r for r in (OPERATOR, VIEWER)}
        return Access(tokens, f"muster_{port}")  # cookies do not know ports

    def role_of(self, token: str) -> str | None:
        """The role that a token stands for; compared in constant time."""
        found = None
        for known, role in self.tokens.items():
            if secrets.compare_digest(known.encode(), token.encode()):
                found = role
        return found

    def role(self, headers: Headers) -> str | None:
        """The caller's role by its headers, None when a token is wanted."""
        if not self.tokens:
            return OPERATOR
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.role_of(given.strip())
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return None
        return self.role_of(cookies[self.cookie].value) if self.cookie in cookies else None


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can connect to an address.

    >>> [is_loopback(h) for h in ("localhost", "127.0.0.5", "::1", "0.0.0.0", "gate.example")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(authority: str) -> str:
    """The host in `host:port`, without brackets, in lower case."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").lower()
    except ValueError:
        return ""


def foreign(headers: Headers, *, loopback_only: bool) -> str | None:
    """Why a request does not come from the page itself, as a sentence, or None."""
    authority = headers.get("host", "")
    if loopback_only and not is_loopback(host_of(authority)):
        return f"this page is served for this machine only, not under the name {authority[:100]!r}"
    origin = headers.get("origin")
    if origin is not None and (not authority or urlsplit_netloc(origin) != authority.lower()):
        return "the request comes from another site's page"
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return "the request comes from another site's page"
    return None


def _tells(path: str) -> bool:
    """Whether something about the node is said there; all else is the page's files."""
    return path.startswith("/api/") or path == METRICS


def urlsplit_netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


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
            return 403, foreign(headers, loopback_only=True) or ""
        if not _tells(path):
            return None  # the page itself holds no secrets, and may be linked to from anywhere
        if (sentence := foreign(headers, loopback_only=loopback_only)) is not None:
            return 403, sentence
        if path in OPEN_PATHS:
            return None
        if role is None:
            return 401, "a token is wanted: open the address that the terminal showed, with its #token="
        if method not in ("GET", "HEAD") and role != OPERATOR:
            return 403, "you are a viewer: viewers look and do not touch"
        return None
