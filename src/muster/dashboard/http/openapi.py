"""The OpenAPI document of the page's API: bodies come from the structs that read them, so they agree."""

from __future__ import annotations

from typing import Any

import msgspec

from muster import __version__
from muster.dashboard.http.requests import (
    ExportRequest,
    JobRequest,
    LabelRequest,
    LinkRequest,
    RollbackRequest,
    SessionRequest,
    StopRequest,
    UseRequest,
)
from muster.simulation.faults import Fault

BODIES: dict[str, Any] = {
    "/api/links": LinkRequest,
    "/api/faults": Fault,
    "/api/jobs": JobRequest,
    "/api/jobs/stop": StopRequest,
    "/api/export": ExportRequest,
    "/api/use": UseRequest,
    "/api/rollback": RollbackRequest,
    "/api/label": LabelRequest,
    "/api/session": SessionRequest,
}
SUMMARIES: dict[tuple[str, str], str] = {
    ("get", "/api/state"): "Everything that the page shows, as of now.",
    ("get", "/api/events"): "Server-sent events: snapshot, patch, tick.",
    ("get", "/api/commits/{id}"): "All about one commit.",
    ("get", "/api/diff"): "Two commits side by side.",
    ("post", "/api/links"): "Set an emulated link: parameters or a preset.",
    ("post", "/api/faults"): "Make a fault happen in the emulation.",
    ("post", "/api/jobs"): "Ask for a new job, perhaps from a commit.",
    ("post", "/api/jobs/stop"): "End a job.",
    ("post", "/api/export"): "A commit's model as a file.",
    ("post", "/api/use"): "Put a commit's model into use on the node.",
    ("post", "/api/rollback"): "Have the former model of a task in use again.",
    ("get", "/api/label"): "Samples that wait for labels.",
    ("post", "/api/label"): "Give a sample its label.",
    ("get", "/api/session"): "Whether a token is wanted, and the caller's role.",
    ("post", "/api/session"): "Trade a token for a cookie.",
    ("get", "/api/openapi.json"): "This document.",
}
PARAMETERS: dict[tuple[str, str], list[tuple[str, str, bool]]] = {  # name, where, required
    ("get", "/api/events"): [("since", "query", False), ("Last-Event-ID", "header", False)],
    ("get", "/api/commits/{id}"): [("id", "path", True)],
    ("get", "/api/label"): [("task", "query", True), ("n", "query", False)],
    ("get", "/api/diff"): [("a", "query", True), ("b", "query", True)],
}
ERRORS = {
    "400": "the request is off",
    "401": "a token is wanted",
    "403": "not allowed",
    "404": "no such job, commit or node",
    "409": "not possible now, or not in an emulation",
    "503": "the node does not answer",
}
_MEDIA = {("get", "/api/events"): "text/event-stream", ("post", "/api/export"): "application/octet-stream"}


def document() -> dict[str, Any]:
    """The whole document, plain values."""
    schemas, components = msgspec.json.schema_components(
        BODIES.values(), ref_template="#/components/schemas/{name}"
    )
    body_of = dict(zip(BODIES, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), summary in SUMMARIES.items():
        media = _MEDIA.get((method, path), "application/json")
        operation: dict[str, Any] = {
            "summary": summary,
            "responses": {
                ("202" if (method, path) == ("post", "/api/jobs") else "200"): {
                    "description": "as asked",
                    "content": {media: {}},
                },
                **{status: {"$ref": f"#/components/responses/E{status}"} for status in ERRORS},
            },
        }
        if (method, path) in PARAMETERS:
            operation["parameters"] = [
                {"name": name, "in": where, "required": required, "schema": {"type": "string"}}
                for name, where, required in PARAMETERS[method, path]
            ]
        if method == "post":
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": body_of[path]}},
            }
        paths.setdefault(path, {})[method] = operation
    error = {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "sentence"],
                "properties": {"code": {"type": "string"}, "sentence": {"type": "string"}},
            }
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Muster's page", "version": __version__, "description": "See docs/api.md."},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": error},
            "responses": {
                f"E{status}": {
                    "description": text,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
                for status, text in ERRORS.items()
            },
        },
    }
