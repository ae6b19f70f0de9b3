"""`POST /v2/models/TASK/infer`: what happens most, and so with as little around it as can be."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from muster.serving.http.bodies import Headers, Refused, send_body, send_problem
from muster.serving.models import ENTROPY, OUTPUT, Loaded
from muster.serving.oip import codec
from muster.serving.oip.tensors import BadRequest
from muster.serving.runner import Busy

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from muster.serving.server import Server

LARGE_BYTES = 256 * 1024  # a body of more is read in a thread
_OCTETS = (b"content-type", b"application/octet-stream")
_JSON = (b"content-type", b"application/json")
_HEADER_LENGTH = codec.HEADER_LENGTH.encode()


def of_request(server: Server, params: Mapping[str, str]) -> Loaded:
    """The model that a request is for. Raises Refused."""
    if params.get("task", server.task) != server.task:
        raise Refused(404, f"there is no model {params['task'][:64]!r} here: this server has {server.task}")
    loaded = server.in_use.loaded
    if loaded is None:
        why = server.in_use.fault or f"no model is in use for {server.task}: `muster use COMMIT`"
        raise Refused(503, why, 5)
    if params.get("version", loaded.version) != loaded.version:
        raise Refused(
            404, f"{params['version'][:64]!r} of {server.task} is not in use: it is {loaded.version} now"
        )
    return loaded


class Inference:
    """Answers with one version of the model, which is read once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._prefix, self._numbers = secrets.token_hex(4), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s = time.perf_counter()
        server = self._server
        try:
            loaded = of_request(server, scope.get("path_params", {}))
            header_bytes = _header_bytes(scope["headers"])
            body = await server.bodies.read(receive)
            if len(body) > LARGE_BYTES:
                request = await asyncio.to_thread(
                    codec.parse, body, header_bytes, loaded.inputs, loaded.outputs
                )
            else:
                request = codec.parse(body, header_bytes, loaded.inputs, loaded.outputs)
            names = [name for name, _ in request.outputs]
            if loaded.classifies:
                names = list(dict.fromkeys((*names, OUTPUT, ENTROPY)))
            outputs = await self._run(loaded, names, request)
        except Refused as refused:
            await self._problem(send, refused)
            return
        except BadRequest as error:
            await self._problem(send, Refused(400, str(error)))
            return
        except ConnectionError:
            return
        id_ = request.id or f"{self._prefix}-{next(self._numbers):x}"
        answer, head_bytes = codec.encode(server.task, loaded.version, id_, request.outputs, outputs)
        headers: Headers = [_JSON]
        if head_bytes is not None:
            headers = [_OCTETS, (_HEADER_LENGTH, b"%d" % head_bytes)]
        await send_body(send, 200, answer, headers)
        server.figures.answered(time.perf_counter() - began_s)
        server.observe(loaded, request, id_, outputs)

    async def _run(self, loaded: Loaded, names: list[str], request: codec.Request) -> dict[str, Any]:
        try:
            return await self._server.runner.run(loaded, names, request.feeds, request.samples)
        except Busy as busy:
            raise Refused(
                503, f"{self._server.task} is busy: try again in {busy.retry_s} s", busy.retry_s
            ) from busy
        except Exception as error:  # onnxruntime has a dozen kinds of its own
            said = " ".join(str(error).split())[:300]
            status = 400 if type(error).__name__ == "InvalidArgument" else 500
            raise Refused(status, f"the model {loaded.version} cannot answer this: {said}") from error

    async def _problem(self, send: Send, refused: Refused) -> None:
        figures = self._server.figures
        if refused.status == 503:
            figures.refused += 1
        elif refused.status >= 500:
            figures.failures += 1
        else:
            figures.rejected += 1
        await send_problem(send, refused)


def _header_bytes(headers: Headers) -> int | None:
    """The length of the JSON part. Raises BadRequest, and Refused for a compressed body."""
    found = None
    for name, value in headers:
        if name == _HEADER_LENGTH:
            if not value.isdigit() or len(value) > 12:
                raise BadRequest(f"{codec.HEADER_LENGTH} is no number of bytes")
            found = int(value)
        elif name == b"content-encoding" and value not in (b"", b"identity"):
            raise Refused(415, "send the body without content-encoding: compressed ones are not read")
    return found
