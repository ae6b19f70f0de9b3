"""The least that serves at all: onnxruntime behind Starlette and uvicorn, raw bytes in and out.

python bench/serving/plain_server.py MODEL.onnx PORT
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import onnxruntime as ort
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from muster.http.address import Address, listen
from muster.http.server import serving


async def main(path: str, port: int) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    shape = [-1, *session.get_inputs()[0].shape[1:]]

    async def infer(request: Request) -> Response:
        x = np.frombuffer(await request.body(), np.float32).reshape(shape)
        (output,) = session.run(["output"], {"input": x})
        return Response(output.tobytes(), media_type="application/octet-stream")

    async def ready(request: Request) -> Response:
        return Response(b"{}")

    app = Starlette(routes=[Route("/infer", infer, methods=["POST"]), Route("/v2/health/ready", ready)])
    async with serving(app, listen(Address("127.0.0.1", port))):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
