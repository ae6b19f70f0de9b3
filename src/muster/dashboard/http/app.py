"""The page's API (docs/api.md) as a Starlette application over a `Feed` and two clients.

The clients lead to the node's daemon and, in an emulation, to the emulator; nothing here knows how.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from muster.dashboard.feed import READERS_MAX, Feed
from muster.dashboard.http.answers import Wrong, answer, body, problem, problem_of
from muster.dashboard.http.field_routes import FieldRoutes
from muster.dashboard.http.guard import METRICS, Guard
from muster.dashboard.http.openapi import document
from muster.dashboard.http.pages import Pages
from muster.dashboard.http.requests import ExportRequest, JobRequest, LinkRequest, SessionRequest, StopRequest
from muster.errors import MusterError
from muster.http.access import Access
from muster.node.api.client import typed
from muster.node.api.gauges import Gauges
from muster.simulation.faults import Fault

SCRAPE_S = 8.0  # below the 10 s that a scrape usually has


class NodeClient(Protocol):
    """Asks of a node's daemon; raises MusterError."""

    async def ask(self, op: str, timeout_s: float, **arguments: Any) -> Any: ...


class EmulatorClient(Protocol):
    """Changes the emulated network; raises MusterError."""

    async def set_link(self, request: LinkRequest) -> None: ...

    async def apply(self, fault: Fault) -> None: ...


@dataclass(frozen=True)
class AppDeps:
    """Everything that the application is made of."""

    feed: Feed
    access: Access
    node: NodeClient
    emulator: EmulatorClient | None = None


def build(deps: AppDeps, pages: Pages | None = None) -> Starlette:
    """The application, guarded."""
    routes, field = _Routes(deps), FieldRoutes(deps.node)
    api: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("GET", "/api/state", routes.state),
        ("GET", "/api/events", routes.events),
        ("GET", "/api/commits/{id}", routes.commit),
        ("GET", "/api/diff", routes.diff),
        ("POST", "/api/links", routes.links),
        ("POST", "/api/faults", routes.faults),
        ("POST", "/api/jobs", routes.jobs),
        ("POST", "/api/jobs/stop", routes.stop),
        ("POST", "/api/export", routes.export),
        ("POST", "/api/use", field.use),
        ("POST", "/api/rollback", field.rollback),
        ("GET", "/api/label", field.to_label),
        ("POST", "/api/label", field.label),
        ("GET", "/api/session", routes.session),
        ("POST", "/api/session", routes.open_session),
        ("GET", "/api/openapi.json", routes.openapi),
    ]
    shown = pages or Pages.packaged()
    return Starlette(
        routes=[
            *(Route(path, endpoint, methods=[method]) for method, path, endpoint in api),
            Route(METRICS, routes.metrics, methods=["GET"]),
            Route("/{path:path}", shown.get, methods=["GET"]),
        ],
        middleware=[Middleware(Guard, access=deps.access)],
        exception_handlers={
            Wrong: _wrong,
            MusterError: _wrong,
            HTTPException: _http,
            404: _missing,
            Exception: _wrong,
        },
    )


async def _wrong(request: Request, error: Exception) -> Response:
    return problem_of(error)


async def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return problem(status, "usage", f"{request.method} is not possible here: see /api/openapi.json")


async def _missing(request: Request, error: Exception) -> Response:
    return problem(404, "usage", "there is nothing at this address: see /api/openapi.json")


class _Routes:
    def __init__(self, deps: AppDeps) -> None:
        self._deps, self._feed = deps, deps.feed

    # ---- looking ------------------------------------------------------------------------------------

    async def state(self, request: Request) -> Response:
        return Response(self._feed.state(request.scope["role"]), media_type="application/json")

    async def events(self, request: Request) -> Response:
        if self._feed.readers >= READERS_MAX:
            raise Wrong(503, "refused", f"{READERS_MAX} readers look at this page already: close one")
        since = request.headers.get("last-event-id") or request.query_params.get("since", "")
        stream = self._stream(since, request.scope["role"])
        return StreamingResponse(stream, media_type="text/event-stream")

    async def _stream(self, since: str, role: str) -> AsyncIterator[bytes]:
        self._feed.readers += 1
        try:
            async for event in self._feed.follow(since, role):
                yield event
        finally:
            self._feed.readers -= 1

    async def commit(self, request: Request) -> Response:
        return answer(await self._deps.node.ask("show", 30.0, commit=request.path_params["id"]))

    async def diff(self, request: Request) -> Response:
        a, b = request.query_params.get("a", ""), request.query_params.get("b", "")
        return answer(await self._deps.node.ask("diff", 120.0, a=a, b=b))

    async def metrics(self, request: Request) -> Response:
        from muster.dashboard.http import prometheus

        try:
            found = typed(await self._deps.node.ask("gauges", SCRAPE_S), Gauges)
        except MusterError:
            found = None  # also a node that is away is a figure
        text, media = prometheus.exposition(found, request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media})

    async def openapi(self, request: Request) -> Response:
        return answer(document())

    # ---- touching -----------------------------------------------------------------------------------

    def _emulator(self) -> EmulatorClient:
        if self._deps.emulator is None:
            raise Wrong(409, "refused", "these are real links: only an emulated network can be changed here")
        return self._deps.emulator

    async def links(self, request: Request) -> Response:
        wanted = await body(request, LinkRequest)
        await self._emulator().set_link(wanted)
        return answer({"ok": True})

    async def faults(self, request: Request) -> Response:
        fault: Fault = await body(request, Fault)  # type: ignore[arg-type]
        await self._emulator().apply(fault)
        return answer({"ok": True})

    async def jobs(self, request: Request) -> Response:
        wanted = await body(request, JobRequest)
        given = {k: v for k, v in msgspec.to_builtins(wanted).items() if v is not None}
        if "task" not in given:
            if "from" not in given:
                raise Wrong(400, "usage", "say which task, or from which commit")
            shown = await self._deps.node.ask("show", 30.0, commit=given["from"])
            given["task"] = shown["task"]
        made = await self._deps.node.ask("train", 600.0, **given)
        return answer({"job": made["job"]}, 202)

    async def stop(self, request: Request) -> Response:
        wanted = await body(request, StopRequest)
        await self._deps.node.ask("stop", 30.0, job=wanted.job, reason=wanted.reason)
        return answer({"ok": True})

    async def export(self, request: Request) -> Response:
        wanted = await body(request, ExportRequest)
        folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="muster-export-")
        try:
            to = Path(folder.name) / f"model.{wanted.kind}"
            made = await self._deps.node.ask(
                "export", 300.0, job=wanted.job, to=str(to), commit=wanted.commit or ""
            )
            name = f"{wanted.job[:8]}-{str(made['commit'])[:8]}.{wanted.kind}"
        except BaseException:
            folder.cleanup()
            raise
        return FileResponse(
            to,
            media_type="application/octet-stream",
            filename=name,
            background=BackgroundTask(folder.cleanup),
        )

    # ---- sessions -----------------------------------------------------------------------------------

    async def session(self, request: Request) -> Response:
        wanted = bool(self._deps.access.tokens)
        return answer({"token_wanted": wanted, "role": request.scope["role"]})

    async def open_session(self, request: Request) -> Response:
        given = await body(request, SessionRequest)
        access = self._deps.access
        role = access.role_of(given.token) if access.tokens else request.scope["role"]
        if role is None:
            raise Wrong(401, "refused", "this is not the page's token: take the address from the terminal")
        response = answer({"role": role})
        if access.tokens:
            response.set_cookie(access.cookie, given.token, httponly=True, samesite="strict", path="/")
        return response
