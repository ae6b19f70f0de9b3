"""A server in this process, asked without a socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asgi import Reply, ask
from muster.http.access import OPERATOR, Access
from muster.serving.http.app import build
from muster.serving.paths import folder_of
from muster.serving.pointer import use_model
from muster.serving.server import Server
from muster.serving.settings import ServeConfig

TASK = "colours"
INFER, FEEDBACK = f"/v2/models/{TASK}/infer", f"/v2/models/{TASK}/feedback"
RED, GREEN, BLUE = [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]


@dataclass
class Served:
    server: Server
    app: Any
    said: list[str] = field(default_factory=list)

    async def get(self, path: str, **headers: str) -> Reply:
        return await ask(self.app, "GET", path, headers=headers)

    async def post(self, path: str, body: Any, **headers: str) -> Reply:
        plain = {name.replace("_", "-"): value for name, value in headers.items()}
        return await ask(self.app, "POST", path, body, plain)

    async def infer(self, samples: Any, **more: Any) -> Reply:
        return await self.post(INFER, request(samples, **more))


def request(samples: Any, datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    shape = list(np.shape(samples))
    tensor = {"name": "input", "shape": shape, "datatype": datatype, "data": samples}
    return {"inputs": [tensor], **more}


def answers(reply: Reply, name: str = "output") -> Any:
    assert reply.status == 200, reply.body
    found = next(out for out in reply.json()["outputs"] if out["name"] == name)
    return np.asarray(found["data"]).reshape(found["shape"])


@contextlib.asynccontextmanager
async def served(
    home: Path, model: Path | None = None, *, token: str = "", config: ServeConfig | None = None
) -> AsyncIterator[Served]:
    if model is not None:
        use_model(folder_of(home, TASK), "first000", model, None, "first")
    said: list[str] = []
    server = Server(home, TASK, config or ServeConfig(), said.append)
    await server.start()
    try:
        yield Served(server, build(server, Access({token: OPERATOR} if token else {})), said)
    finally:
        await server.close()
