"""The routes of a server: the Open Inference Protocol v2 for one task, feedback, figures.

GET  /v2/health/live, /v2/health/ready           without a token
GET  /v2, /v2/models/TASK, /v2/models/TASK/ready  (also with /versions/VERSION)
POST /v2/models/TASK/infer                        (also with /versions/VERSION)
POST /v2/models/TASK/feedback                     {"id": of a request, "labels": one a sample}
GET  /metrics                                     for Prometheus
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from muster import __version__
from muster.http.access import Access
from muster.serving.http.bodies import Headers, Refused, send_body, send_problem
from muster.serving.http.feedback import Feedback
from muster.serving.http.guard import ServingGuard
from muster.serving.http.metrics import exposition
from muster.serving.models import ENTROPY, OUTPUT, Loaded
from muster.serving.oip import codec
from muster.serving.oip.tensors import BadRequest, TensorSpec
from muster.serving.runner import Busy
from muster.serving.server import Server

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

LARGE_BYTES = 256 * 1024  # a body of more is read in a thread
EXTENSIONS = ["binary_tensor_data"]
_OCTETS = (b"content-type", b"application/octet-stream")
_JSON = (b"content-type", b"application/json")


def build(server: Server, access: Access) -> Starlette:
    """The application, guarded."""
    looks = _Looks(server)
    infer = Inference(server)
    model = "/v2/models/{task}"
    return Starlette(
        routes=[
            Route(f"{model}/infer", infer, methods=["POST"]),
            Route(f"{model}/versions/{{version}}/infer", infer, methods=["POST"]),
            Route(f"{model}/feedback", Feedback(server), methods=["POST"]),
            Route("/v2/health/live", looks.live),
            Route("/v2/health/ready", looks.ready),
            Route("/v2", looks.server),
            Route("/v2/", looks.server),
            *(
                Route(f"{model}{version}{path}", look)
                for version in ("", "/versions/{version}")
                for path, look in (("", looks.model), ("/ready", looks.model_ready))
            ),
            Route("/metrics", looks.metrics),
        ],
        middleware=[Middleware(ServingGuard, access=access)],
        exception_handlers={Refused: _refused, HTTPException: _http, Exception: _fault},
    )


def of_request(server: Server, params: dict[str, str]) -> Loaded:
    """The model that a request is for. Raises Refused."""
    if params["task"] != server.task:
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
            loaded = of_request(server, scope["path_params"])
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
            headers = [_OCTETS, (codec.HEADER_LENGTH.encode(), str(head_bytes).encode())]
        await send_body(send, 200, answer, headers)
        server.figures.answered(time.perf_counter() - began_s)
        if len(request.feeds) == 1:
            server.observe(loaded, id_, next(iter(request.feeds.values())), outputs)

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
        if name == b"inference-header-content-length":
            if not value.isdigit() or len(value) > 12:
                raise BadRequest(f"{codec.HEADER_LENGTH} is no number of bytes")
            found = int(value)
        elif name == b"content-encoding" and value not in (b"", b"identity"):
            raise Refused(415, "send the body without content-encoding: compressed ones are not read")
    return found


class _Looks:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def live(self, request: Request) -> Response:
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        ready = self._server.in_use.loaded is not None
        return _json({"ready": ready}, 200 if ready else 503)

    async def server(self, request: Request) -> Response:
        return _json({"name": "muster", "version": __version__, "extensions": EXTENSIONS})

    async def model_ready(self, request: Request) -> Response:
        of_request(self._server, request.path_params)
        return _json({"name": self._server.task, "ready": True})

    async def model(self, request: Request) -> Response:
        loaded = of_request(self._server, request.path_params)
        return _json(
            {
                "name": self._server.task,
                "versions": [loaded.version],
                "platform": "onnxruntime_onnx",
                "inputs": [_spec(spec) for spec in loaded.inputs],
                "outputs": [_spec(spec) for spec in loaded.outputs.values()],
                "parameters": {"classes": list(loaded.classes)} if loaded.classes else {},
            }
        )

    async def metrics(self, request: Request) -> Response:
        text, media = exposition(self._server.report(), request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media})


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    retry = {} if error.retry_s is None else {"retry-after": str(error.retry_s)}
    response = _json({"error": error.sentence}, error.status)
    response.headers.update(retry)
    return response


async def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _json(
        {"error": f"{request.method} {request.url.path[:200]} is nothing here: see docs/serving.md"}, status
    )


async def _fault(request: Request, error: Exception) -> Response:
    return _json({"error": f"this is a fault in Muster ({type(error).__name__}): please report it"}, 500)
