"""Request bodies with limits, and answers: for handlers that speak ASGI themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from starlette.types import Receive, Send

BODY_S = 30.0  # a body that takes longer is not waited for
TOGETHER_BYTES_MAX = 64 << 20  # of bodies that are being read or answered

Headers = list[tuple[bytes, bytes]]


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, sentence: str, retry_s: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_s = status, sentence, retry_s


class Bodies:
    """Reads bodies, and counts what they take together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._together_max = max(TOGETHER_BYTES_MAX, 2 * limit_bytes)
        self._together = 0

    async def read(self, receive: Receive) -> bytes:
        """A whole body. Raises Refused, and ConnectionError when the client is gone."""
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > self._limit_bytes:
                raise self._too_large()
            return body
        taken: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                while True:
                    if message["type"] == "http.disconnect":
                        raise ConnectionError
                    piece = message.get("body", b"")
                    taken.append(piece)
                    size += len(piece)
                    self._together += len(piece)
                    if size > self._limit_bytes:
                        raise self._too_large()
                    if self._together > self._together_max:
                        raise Refused(503, "too many large requests at once: try again", 1)
                    if not message.get("more_body"):
                        return b"".join(taken)
                    message = await receive()
        except TimeoutError:
            raise Refused(408, f"the body did not come within {BODY_S:g} s") from None
        finally:
            self._together -= size

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is over the limit of {self._limit_bytes} bytes: send fewer samples")


async def send_body(send: Send, status: int, body: bytes, headers: Headers) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", str(len(body)).encode()), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, value: Any, status: int = 200, headers: Headers | None = None) -> None:
    await send_body(
        send, status, msgspec.json.encode(value), [(b"content-type", b"application/json"), *(headers or ())]
    )


async def send_problem(send: Send, refused: Refused) -> None:
    """An error as the protocol has it: {"error": sentence}."""
    retry = [] if refused.retry_s is None else [(b"retry-after", str(refused.retry_s).encode())]
    await send_json(send, {"error": refused.sentence}, refused.status, retry)
