"""The generator of requests against a server over real sockets: what it counts, when an answer is mixed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster.cli.demo.adapt.generator import Camera, Orders
from muster.cli.demo.adapt.world import World, made
from muster.http.access import Access
from muster.http.address import Address, listen, url
from muster.http.server import serving
from muster.local.local_set import LocalSet, path_of
from muster.serving.http.app import build
from muster.serving.paths import folder_of, models_of
from muster.serving.pointer import use_model
from muster.serving.server import Server
from muster.serving.settings import ServeConfig

TASK, SIDE = "digits", 4


def model(path: Path, moved: int = 0) -> Path:
    """Pictures whose first pixel is their label -> logits that are highest at that label, `moved` on."""
    weight = np.zeros((SIDE * SIDE, 10), np.float32)
    bias = np.zeros(10, np.float32)
    weight[0] = [2.0 * ((d + moved) % 10) for d in range(10)]
    bias[:] = [-float(((d + moved) % 10) ** 2) for d in range(10)]
    nodes = [
        helper.make_node("Cast", ["input"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["output"]),
        helper.make_node("Softmax", ["output"], ["p"], axis=1),
        helper.make_node("LogSoftmax", ["output"], ["logp"], axis=1),
        helper.make_node("ReduceMax", ["p", "axis"], ["confidence"], keepdims=0),
        helper.make_node("Mul", ["p", "logp"], ["plogp"]),
        helper.make_node("ReduceSum", ["plogp", "axis"], ["minus"], keepdims=0),
        helper.make_node("Neg", ["minus"], ["entropy"]),
    ]
    constants = [
        numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]  # fmt: skip
    values: list[tuple[str, list[str | int | None]]] = [
        ("output", ["batch", 10]),
        ("confidence", ["batch"]),
        ("entropy", ["batch"]),
    ]
    graph = helper.make_graph(
        nodes, "first-pixel",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, ["batch", SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values], constants,
    )  # fmt: skip
    made_up = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path.write_bytes(made_up.SerializeToString())
    onnx.checker.check_model(str(path))
    return path


def world() -> World:
    labels = np.arange(600) % 10
    pictures = np.zeros((600, SIDE, SIDE), np.uint8)
    pictures[:, 0, 0] = labels
    return made(pictures, labels, pictures[:10], labels[:10], ("alpha",), 0)


@contextlib.asynccontextmanager
async def served(home: Path) -> AsyncIterator[None]:
    sock = listen(Address("127.0.0.1", 0))
    server = Server(home, TASK, ServeConfig(), lambda text: None, url(sock, "127.0.0.1"))
    await server.start()
    try:
        async with serving(build(server, Access({})), sock):
            yield
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def running(camera: Camera) -> AsyncIterator[None]:
    task = asyncio.ensure_future(camera.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(camera: Camera, requests: int) -> None:
    while camera.tell().requests < requests:
        assert camera.tally.failed < 5, camera.tally.faults
        await asyncio.sleep(0.01)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    use_model(folder_of(tmp_path, TASK), "first", model(tmp_path / "first.onnx"), None, "first")
    return tmp_path


def test_right_answers_labels_and_a_swap_are_seen(home: Path) -> None:
    async def main() -> None:
        camera = Camera("alpha", home, TASK, world(), 0)
        async with served(home), running(camera):
            camera.order(Orders("alpha", rate=400.0, digits=(3, 4)))
            await until(camera, 60)
            assert (camera.tally.version, camera.tally.right) == ("first", camera.tally.of)
            camera.order(Orders("alpha", rate=400.0, learn=20, labels_s=400.0))
            while camera.tell().labelled < 20:
                await asyncio.sleep(0.01)
            use_model(folder_of(home, TASK), "other", model(home / "other.onnx", moved=1), None, "second")
            while camera.tell().swaps < 1:
                await asyncio.sleep(0.01)
            await until(camera, camera.tally.requests + 30)
        tally = camera.tell()
        assert (tally.failed, tally.mixed, tally.version, tally.labelled_at_swap) == (0, 0, "other", 20)
        assert tally.of >= 25
        assert tally.right == 0

    asyncio.run(main())
    with LocalSet.open(path_of(home, TASK)) as local:
        labelled = local.labelled()
        assert len(labelled.y) == 20
        assert [int(x[0, 0]) for x in labelled.x] == [int(y) for y in labelled.y]


def test_an_answer_of_another_model_than_it_names_is_mixed(home: Path) -> None:
    """As if a server answered one request with two models: the file of the version says something else."""

    async def main() -> None:
        camera = Camera("alpha", home, TASK, world(), 0)
        async with served(home), running(camera):
            model(models_of(folder_of(home, TASK)) / "first.onnx", moved=1)
            camera.order(Orders("alpha", rate=400.0))
            await until(camera, 20)
        assert camera.tally.mixed > 0
        assert "not that of first" in camera.tally.faults[0]

    asyncio.run(main())


def test_a_request_without_an_answer_has_failed(home: Path) -> None:
    async def main() -> None:
        camera = Camera("alpha", home, TASK, world(), 0)
        async with running(camera):
            async with served(home):
                camera.order(Orders("alpha", rate=200.0))
                await until(camera, 20)
                assert camera.tally.failed == 0
            while not camera.tally.failed:
                await asyncio.sleep(0.01)
        assert camera.tally.faults

    asyncio.run(main())


def test_a_camera_may_be_sent_to_rest_while_it_waits_for_an_answer(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        camera = Camera("alpha", home, TASK, world(), 0)
        asked = camera._ask

        async def rests_meanwhile() -> None:
            await asked()
            camera.order(Orders("alpha", rate=0.0))

        monkeypatch.setattr(camera, "_ask", rests_meanwhile)
        async with served(home), running(camera):
            for requests in (1, 2, 3):
                camera.order(Orders("alpha", rate=400.0))
                await until(camera, requests)
                await asyncio.sleep(0.05)
        assert camera.tell().requests == 3

    asyncio.run(main())
