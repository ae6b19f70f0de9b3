"""Who is let in to an HTTP server of this machine: token, role, origin and host.

On loopback the machine's users are trusted, but not the web pages that they read: a foreign origin, and a
foreign name that was pointed at 127.0.0.1 (DNS rebinding), are refused.  Elsewhere a token is wanted.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from muster.http.address import is_loopback

OPERATOR, VIEWER = "operator", "viewer"


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


@lru_cache(256)
def host_of(authority: str) -> str:
    """The host in `host:port`, without brackets, in lower case."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").lower()
    except ValueError:
        return ""


def foreign(authority: str, origin: str | None, site: str | None, *, loopback_only: bool) -> str | None:
    """Why a request is refused for where it comes from, as a sentence; None: it is not.

    `authority`: its header Host; `site`: Sec-Fetch-Site.
    """
    if loopback_only and not is_loopback(host_of(authority)):
        return f"this is served for this machine only, not under the name {authority[:100]!r}"
    if origin is not None and (not authority or _netloc(origin) != authority.lower()):
        return "the request comes from another site's page"
    if site in ("cross-site", "same-site"):
        return "the request comes from another site's page"
    return None


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
