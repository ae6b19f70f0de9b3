"""Whatever is sent to the page's API is answered, and a fault of ours is none of the answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pages import make

from asgi import ask

PATHS = (
    "/api/state", "/api/commits/{}", "/api/diff?a={}&b={}", "/api/links", "/api/faults", "/api/jobs",
    "/api/jobs/stop", "/api/export", "/api/use", "/api/rollback", "/api/label", "/api/label?task={}&n={}",
    "/api/session", "/api/openapi.json", "/{}", "/api/{}",
)  # fmt: skip
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([2**63, -(2**63) - 1, 2**64, 0, -1]))
texts = st.one_of(st.text(max_size=12), st.sampled_from(["heal", "cut", "a", "../..", "\x00", "0" * 64, "é"]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    ["fault", "node", "a", "b", "there", "drop", "task", "from", "rounds", "seconds", "seed", "lr", "bytes",
     "job", "reason", "commit", "format", "token", "every_s", "for_s", "preset", "patience_s", "x"]
)  # fmt: skip
bodies = st.one_of(
    st.dictionaries(keys, st.one_of(values, st.dictionaries(keys, values, max_size=3)), max_size=4).map(
        lambda body: json.dumps(body).encode()
    ),
    st.binary(max_size=60),
)
ALLOWED = {200, 202, 204, 304, 400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 431, 503}


def statuses(requests: list[tuple[str, str, bytes | None]]) -> set[int]:
    async def run() -> set[int]:
        page: Any = make()
        return {(await ask(page.app, method, path, body)).status for method, path, body in requests}

    return asyncio.run(run())


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from(["GET", "POST", "PUT", "DELETE"]), st.sampled_from(PATHS), texts, bodies),
        min_size=1,
        max_size=4,
    )
)
def test_every_request_is_answered(requests: list[tuple[str, str, str, bytes]]) -> None:
    asked = [
        (method, path.format(*[word] * path.count("{}")), body if method != "GET" else None)
        for method, path, word, body in requests
    ]
    assert statuses(asked) <= ALLOWED


def test_lists_in_lists_without_end_are_malformed() -> None:
    deep = [b"[" * 60_000, b'{"fault":' * 6_000, b'{"from":' + b"[" * 50_000]
    posts = (
        *("/api/links", "/api/faults", "/api/jobs", "/api/jobs/stop", "/api/export"),
        *("/api/use", "/api/rollback", "/api/label", "/api/session"),
    )
    assert statuses([("POST", path, body) for path in posts for body in deep]) <= {400, 401, 413, 422}
