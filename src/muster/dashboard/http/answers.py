"""JSON in and out: bodies with a limit, and errors as the one shape that docs/api.md promises."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from muster.errors import MusterError
from muster.protocol.envelope import UNREADABLE

BODY_BYTES_MAX = 64 * 1024
STATUS = {
    "usage": 400,
    "config": 400,
    "scenario": 404,
    "unknown_task": 404,
    "unknown_job": 404,
    "unknown_commit": 404,
    "no_result": 409,
    "fingerprint": 409,
    "bad_data": 409,
    "task_fault": 409,
    "refused": 403,
    "no_node": 503,
    "timeout": 504,
}

T = TypeVar("T")


class Wrong(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence = status, code, sentence


def answer(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def problem(status: int, code: str, sentence: str) -> Response:
    return answer({"error": {"code": code, "sentence": sentence}}, status)


def problem_of(error: Exception) -> Response:
    """The answer for what a route raised."""
    if isinstance(error, Wrong):
        return problem(error.status, error.code, error.sentence)
    if isinstance(error, MusterError):
        return problem(STATUS.get(error.code, 500), error.code, error.sentence)
    return problem(500, "internal", f"this is a fault in Muster ({type(error).__name__}): please report it")


async def body(request: Request, kind: type[T]) -> T:
    """The request's JSON body. Raises Wrong."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Wrong(400, "usage", "send the body as Content-Type: application/json")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_BYTES_MAX:
            raise Wrong(413, "usage", f"the body is over the limit of {BODY_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except UNREADABLE as error:
        raise Wrong(400, "usage", f"the request is malformed: {error}") from error
