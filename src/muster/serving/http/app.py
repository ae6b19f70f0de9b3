"""The routes of a server: the Open Inference Protocol v2 for one task, feedback, figures.

GET  /v2/health/live, /v2/health/ready           without a token
GET  /v2, /v2/models/TASK, /v2/models/TASK/ready  (also with /versions/VERSION)
POST /v2/models/TASK/infer                        (also with /versions/VERSION)
POST /v2/models/TASK/feedback                     {"id": of a request, "labels": one a sample}
GET  /metrics                                     for Prometheus
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from muster import __version__
from muster.http.access import Access
from muster.serving.http.bodies import Refused
from muster.serving.http.feedback import Feedback
from muster.serving.http.guard import ServingGuard
from muster.serving.http.inference import Inference, of_request
from muster.serving.http.metrics import exposition
from muster.serving.oip.tensors import TensorSpec
from muster.serving.server import Server

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

EXTENSIONS = ["binary_tensor_data"]


def build(server: Server, access: Access) -> ASGIApp:
    """The application, guarded."""
    looks = _Looks(server)
    infer = Inference(server)
    model = "/v2/models/{task}"
    app = Starlette(
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
        exception_handlers={Refused: _refused, HTTPException: _http, Exception: _fault},
    )
    usual = f"/v2/models/{server.task}/infer"

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == usual and scope["method"] == "POST":
            await infer(scope, receive, send)  # past the routes: a tenth of what a request costs
        else:
            await app(scope, receive, send)

    return ServingGuard(answer, access)


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
