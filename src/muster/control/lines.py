"""The lines of a control socket, as both clients write and read them."""

from __future__ import annotations

import json
from typing import Any

from muster.errors import EXIT_CODES, MusterError

ANSWER_BYTES_MAX = 64 * 1024 * 1024


def request_line(op: str, arguments: dict[str, Any]) -> bytes:
    """A request as it goes over the socket."""
    return json.dumps({**arguments, "op": op}).encode() + b"\n"


def opened(line: bytes, key: str = "ok") -> Any:
    """What an answer holds under `key`. Raises the MusterError in it; internal when it cannot be read."""
    try:
        answer = json.loads(line)
        if "error" in answer:
            code, sentence = str(answer["error"]["code"]), str(answer["error"]["sentence"])
            raise MusterError(code if code in EXIT_CODES else "internal", sentence)
        return answer[key]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MusterError("internal", f"the answer cannot be read ({error}): update both sides") from error


def whole(line: bytes) -> bytes:
    """The line; raises EOFError when the other end closed in the middle of it."""
    if not line.endswith(b"\n"):
        raise EOFError
    return line
