"""The API's routes: what they pass on, what they refuse, and that the documents tell the truth."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pages import Made, make

from asgi import Reply, ask
from muster.dashboard.http.answers import BODY_BYTES_MAX
from muster.dashboard.http.openapi import document
from muster.dashboard.http.requests import LinkParameters
from muster.errors import MusterError
from muster.simulation.faults import Cut, Partition

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
STRANGE = ["<script>alert(1)</script>", "a\nb\r\n\ndata: x", "‮txt", "\u0000", "😀" * 10, "__proto__"]


def once(method: str, path: str, body: Any = None, made: Made | None = None, **how: Any) -> Reply:
    async def run() -> Reply:
        page = made or make(**how)
        return await ask(page.app, method, path, body)

    return asyncio.run(run())


def on_page(steps: Any, **how: Any) -> Any:
    async def run() -> Any:
        return await steps(make(**how))

    return asyncio.run(run())


def test_links_and_faults_reach_the_emulator() -> None:
    async def steps(made: Made) -> None:
        for body in (
            {"a": "alpha", "b": "bravo", "there": {"rate_kbit_s": 64, "loss": 0.02}},
            {"a": "alpha", "b": "bravo", "preset": "lora"},
        ):
            assert (await ask(made.app, "POST", "/api/links", body)).json() == {"ok": True}
        for fault in (
            {"fault": "cut", "a": "delta", "b": "echo"},
            {"fault": "partition", "groups": [["alpha"], ["bravo"]]},
        ):
            assert (await ask(made.app, "POST", "/api/faults", fault)).status == 200
        assert made.clients.links[0].there == LinkParameters(rate_kbit_s=64, loss=0.02)
        assert made.clients.links[1].preset == "lora"
        assert made.clients.faults == [Cut("delta", "echo"), Partition((("alpha",), ("bravo",)))]

    on_page(steps)


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/api/links", {"a": "x"}, "b"),
        ("/api/links", {"a": "x", "b": "y", "there": {"loss": 1.5}}, "loss"),
        ("/api/links", {"a": "x", "b": "y", "there": {"rate_kbit_s": 0}}, "rate_kbit_s"),
        ("/api/links", {"a": "x", "b": "y", "there": {"rate_kbits": 5}}, "rate_kbits"),
        ("/api/links", {"a": "x", "b": "y" * 81}, "length"),
        ("/api/faults", {"fault": "explode"}, "explode"),
        ("/api/faults", {"fault": "kill"}, "node"),
        ("/api/faults", {"fault": "kill", "node": "a", "force": True}, "force"),
        ("/api/jobs", {"from": "../../etc/passwd"}, "from"),
        ("/api/jobs", {}, "task"),
        ("/api/export", {"job": "abcd", "kind": "pickle"}, "kind"),
        ("/api/jobs/stop", b"[1, 2]", "malformed"),
        ("/api/jobs/stop", b"{", "malformed"),
    ],
)
def test_a_malformed_request_is_named(path: str, body: Any, word: str) -> None:
    async def steps(made: Made) -> Reply:
        reply = await ask(made.app, "POST", path, body)
        assert made.clients.asked == made.clients.faults == made.clients.links == []
        return reply

    reply = on_page(steps)
    assert reply.status == 400
    assert word in reply.json()["error"]["sentence"]


def test_bodies_have_a_limit_and_a_type() -> None:
    assert once("POST", "/api/faults", b" " * (BODY_BYTES_MAX + 1)).status == 413

    async def as_form(made: Made) -> Reply:
        headers = {"content-type": "text/plain"}  # what a form of another site could send without asking
        return await ask(made.app, "POST", "/api/faults", b'{"fault":"heal"}', headers)

    assert on_page(as_form).status == 400


def test_outside_an_emulation_nothing_is_touched() -> None:
    for path, body in (("/api/links", {"a": "a", "b": "b"}), ("/api/faults", {"fault": "heal"})):
        reply = once("POST", path, body, emulated=False)
        assert reply.status == 409
        assert "real links" in reply.json()["error"]["sentence"]


def test_a_job_starts_from_a_commit() -> None:
    async def steps(made: Made) -> None:
        made.clients.answers = {"show": {"task": "digits"}, "train": {"job": "ab" * 32}}
        reply = await ask(made.app, "POST", "/api/jobs", {"from": "77ab12", "rounds": 5, "target": None})
        assert (reply.status, reply.json()) == (202, {"job": "ab" * 32})
        assert made.clients.asked[-1] == ("train", {"task": "digits", "from": "77ab12", "rounds": 5})

    on_page(steps)


def test_an_export_comes_as_a_file_and_leaves_nothing() -> None:
    written: list[Path] = []

    def write(arguments: dict[str, Any]) -> dict[str, Any]:
        written.append(Path(arguments["to"]))
        written[0].write_bytes(b"model")
        return {"commit": "cd" * 32, "paths": [arguments["to"]]}

    async def steps(made: Made) -> Reply:
        made.clients.answers = {"export": write}
        return await ask(made.app, "POST", "/api/export", {"job": "ab" * 32, "kind": "onnx"})

    reply = on_page(steps)
    assert reply.body == b"model"
    assert reply.headers["content-disposition"] == 'attachment; filename="abababab-cdcdcdcd.onnx"'
    assert not written[0].parent.exists()


@pytest.mark.parametrize(
    ("code", "status"),
    [("unknown_commit", 404), ("no_node", 503), ("timeout", 504), ("no_result", 409), ("internal", 500)],
)
def test_a_nodes_refusal_keeps_its_code(code: str, status: int) -> None:
    async def steps(made: Made) -> Reply:
        made.clients.answers = {"show": MusterError(code, "because")}
        return await ask(made.app, "GET", "/api/commits/abcd")

    reply = on_page(steps)
    assert (reply.status, reply.json()) == (status, {"error": {"code": code, "sentence": "because"}})


def test_a_fault_of_ours_tells_no_secrets() -> None:
    async def steps(made: Made) -> Reply:
        made.clients.answers = {"show": lambda _: 1 / 0}
        with pytest.raises(ZeroDivisionError):  # the server logs it
            await ask(made.app, "GET", "/api/commits/abcd")
        return await ask(made.app, "GET", "/api/state")

    assert on_page(steps).status == 200


@pytest.mark.parametrize("name", STRANGE)
def test_strange_names_are_names(name: str) -> None:
    async def steps(made: Made) -> None:
        made.feed.publish({"nodes": {name: {"id": name, "name": name}}})
        made.feed.add_line("job", f"{name} asks for help")
        state = (await ask(made.app, "GET", "/api/state")).json()
        assert state["nodes"][name]["name"] == name
        assert state["log"][0]["text"] == f"{name} asks for help"
        text = made.feed._ring[-1][1]
        assert text.count(b"\n\n") == 1  # no name ends an event
        assert text.count(b"\n") == 4
        assert (await ask(made.app, "POST", "/api/faults", {"fault": "kill", "node": name})).status == 200
        assert made.clients.faults[0].node == name

    on_page(steps)


@pytest.mark.parametrize("path", ["/api/nothing", "/nothing", "/../../etc/passwd", "/assets/../../feed.py"])
def test_other_addresses_hold_nothing(path: str) -> None:
    assert once("GET", path).status in (404, 503)  # 503: the page is not built here


def test_the_openapi_document_has_the_routes() -> None:
    made = make()
    served = {
        (method.lower(), route.path)
        for route in made.app.routes
        for method in route.methods - {"HEAD"}
        if route.path.startswith("/api/")
    }
    told = {(method, path) for path, item in document()["paths"].items() for method in item}
    assert told == served
    written = set(re.findall(r"^\| `(\w+) (/api/[^`?]*)", DOCS.read_text("utf-8"), re.M))
    assert {(method.lower(), path) for method, path in written} == served
    assert once("GET", "/api/openapi.json").json() == json.loads(json.dumps(document()))


def test_the_openapi_document_is_whole() -> None:
    text = json.dumps(document())
    names = set(re.findall(r"#/components/(\w+)/(\w+)", text))
    components = document()["components"]
    assert names
    for kind, name in names:
        assert name in components[kind], name
