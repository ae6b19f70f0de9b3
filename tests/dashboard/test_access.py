"""Who gets in: host, origin, token, role."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pages import make

from asgi import Reply, ask
from muster.http.access import Access
from muster.http.address import is_loopback

HEAL = {"fault": "heal"}


def once(method: str, path: str, body: Any = None, *, tokens: bool = False, **headers: str) -> Reply:
    plain = {name.replace("_", "-"): value for name, value in headers.items()}

    async def run() -> Reply:
        return await ask(make(tokens=tokens).app, method, path, body, plain)

    return asyncio.run(run())


@pytest.mark.parametrize("host", ["localhost:7450", "127.0.0.1:1", "[::1]:7450", "LOCALHOST"])
def test_this_machines_names_are_served(host: str) -> None:
    assert once("GET", "/api/state", host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7450", "127.0.0.1.evil.example", "", "[", "10.0.0.1"]
)
@pytest.mark.parametrize("path", ["/api/state", "/", "/api/session"])
def test_a_foreign_name_for_this_machine_is_refused(host: str, path: str) -> None:
    reply = once("GET", path, host=host)
    assert reply.status == 403
    assert "this machine only" in reply.json()["error"]["sentence"]


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8000"},  # another program's page on this machine
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_other_sites_pages_are_refused(headers: dict[str, str], tokens: bool) -> None:
    cookie = {"cookie": "muster_7450=operator-token"}
    for method, path, body in (("POST", "/api/faults", HEAL), ("GET", "/api/state", None)):
        reply = once(method, path, body, tokens=tokens, **headers, **cookie)
        assert reply.status == 403
        assert "another site" in reply.json()["error"]["sentence"]


def test_the_page_itself_may_touch() -> None:
    headers = {"origin": "http://localhost:7450", "sec_fetch_site": "same-origin"}
    assert once("POST", "/api/faults", HEAL, **headers).status == 200


def test_without_a_token_nothing_is_shown() -> None:
    for path in ("/api/state", "/api/events", "/api/commits/abcd", "/api/diff?a=abcd&b=abce"):
        reply = once("GET", path, tokens=True, host="10.0.0.1:7450")
        assert reply.status == 401
        assert reply.json()["error"]["code"] == "refused"
    assert once("POST", "/api/faults", HEAL, tokens=True).status == 401
    assert once("GET", "/api/session", tokens=True).json() == {"token_wanted": True, "role": None}
    assert once("GET", "/api/session").json() == {"token_wanted": False, "role": "operator"}


@pytest.mark.parametrize("given", ["wrong", "operator-toke", "operator-tokenx", "", "ünïcode"])
def test_a_wrong_token_is_no_token(given: str) -> None:
    reply = once("POST", "/api/session", {"token": given}, tokens=True)
    assert reply.status == 401
    assert "set-cookie" not in reply.headers
    bearer = {"authorization": f"Bearer {given}".encode().decode("latin-1")}
    assert once("GET", "/api/state", tokens=True, **bearer).status == 401
    assert once("GET", "/api/state", tokens=True, cookie="muster_7450=wrong").status == 401


@pytest.mark.parametrize("role", ["operator", "viewer"])
def test_a_token_is_traded_for_a_cookie(role: str) -> None:
    reply = once("POST", "/api/session", {"token": f"{role}-token"}, tokens=True, host="10.0.0.1:7450")
    assert reply.json() == {"role": role}
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    shown = once("GET", "/api/state", tokens=True, cookie=cookie.partition(";")[0], host="10.0.0.1:7450")
    assert shown.json()["header"]["role"] == role
    bearer = once("GET", "/api/state", tokens=True, authorization=f"Bearer {role}-token")
    assert bearer.json()["header"]["role"] == role


@pytest.mark.parametrize("path", ["/api/links", "/api/faults", "/api/jobs", "/api/jobs/stop", "/api/export"])
def test_a_viewer_does_not_touch(path: str) -> None:
    reply = once("POST", path, {}, tokens=True, authorization="Bearer viewer-token")
    assert reply.status == 403
    assert "viewer" in reply.json()["error"]["sentence"]


def test_every_answer_forbids_other_hosts() -> None:
    for reply in (
        once("GET", "/"),
        once("GET", "/api/state"),
        once("GET", "/api/state", host="evil.example"),
    ):
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        assert "http:" not in policy
        assert "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_tokens_are_made_where_others_can_connect() -> None:
    assert not Access.for_host("127.0.0.1", 1).tokens
    access = Access.for_host("0.0.0.0", 1)
    assert sorted(access.tokens.values()) == ["operator", "viewer"]
    assert all(len(token) >= 24 for token in access.tokens)
    assert not is_loopback("0.0.0.0")
