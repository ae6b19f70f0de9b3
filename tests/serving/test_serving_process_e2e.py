"""The server as a process, with real clients: killed at any time, beside a node, under load."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import classifier
from serving_here import BLUE, FEEDBACK, GREEN, INFER, RED, TASK, request

from muster.local.local_set import LocalSet
from muster.serving.paths import folder_of, local_set_of, models_of, pointer_of
from muster.serving.pointer import use_model
from muster.serving.report import alive, read_report
from muster.serving.settings import ServeConfig, encode_settings
from patience import patient_s

pytestmark = pytest.mark.e2e


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def moments(limit_s: float) -> Iterator[None]:
    """Again and again; who leaves it to the end waited in vain."""
    until_s = time.monotonic() + patient_s(limit_s)
    while time.monotonic() < until_s:
        yield
        time.sleep(0.05)
    raise AssertionError(f"waited for {limit_s:g} s")


class Process:
    """A server, or a node with one."""

    def __init__(self, home: Path, port: int, argv: list[str]) -> None:
        self.home, self.port, self._argv = home, port, argv
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        # ends with this test, however that ends
        env = {**os.environ, "MUSTER_SERVE_WHILE": str(os.getpid())}
        with (self.home / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self._argv], stdout=output, stderr=output, env=env
            )
        return self.process

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}{path}", data, timeout=patient_s(30)
        ) as answer:
            return json.loads(answer.read())

    def until(self, version: str | None = None) -> None:
        """Until it is ready, with this version."""
        for _ in moments(60):
            with contextlib.suppress(OSError):
                found = self.ask(f"/v2/models/{TASK}")
                if version in (None, found["versions"][0]):
                    return

    def answer(self, sample: list[float], **more: Any) -> tuple[int, str]:
        """The class and the version."""
        found = self.ask(INFER, request([sample], **more))
        return int(np.argmax(found["outputs"][0]["data"])), found["model_version"]


@contextlib.contextmanager
def running(home: Path, argv: list[str] | None = None, port: int | None = None) -> Iterator[Process]:
    home.mkdir(exist_ok=True, parents=True)
    port = port or free_port()
    settings = encode_settings(ServeConfig(port=port))
    made = Process(home, port, argv or ["-m", "muster.serving.main", str(home), TASK, settings])
    try:
        yield made
    finally:
        made.process.terminate()
        made.process.wait(patient_s(60))


def test_tritons_client_works_unchanged(tmp_path: Path) -> None:
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    home = tmp_path / "home"
    use_model(folder_of(home, TASK), "first000", classifier(tmp_path / "a.onnx"), None, "first")
    with running(home) as server:
        server.until("first000")
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready(TASK)
            assert client.is_model_ready(TASK, "first000")
            assert client.get_server_metadata()["name"] == "muster"
            assert client.get_model_metadata(TASK)["inputs"][0]["datatype"] == "FP32"
            x = np.array([RED, BLUE], np.float32)
            for binary in (True, False):
                given = triton.InferInput("input", [2, 4], "FP32")
                given.set_data_from_numpy(x, binary_data=binary)
                wanted = triton.InferRequestedOutput("output", binary_data=binary)
                found = client.infer(TASK, [given], outputs=[wanted], request_id="mine")
                assert found.as_numpy("output").argmax(1).tolist() == [0, 2]
                assert found.get_response()["id"] == "mine"
                assert found.get_response()["model_version"] == "first000"
                everything = client.infer(TASK, [given])  # asks for all outputs as bytes
                assert everything.as_numpy("entropy").shape == (2,)
            given = triton.InferInput("input", [2, 4], "FP32")
            given.set_data_from_numpy(x)
            with pytest.raises(triton.InferenceServerException, match="there is no model 'other' here"):
                client.infer("other", [given])


def test_killed_at_any_time_nothing_labelled_is_lost(tmp_path: Path) -> None:
    home = tmp_path / "home"
    use_model(folder_of(home, TASK), "first000", classifier(tmp_path / "a.onnx"), None, "first")
    confirmed = 0
    with running(home) as server:
        for round_ in range(3):
            server.until("first000")
            killer = threading.Timer(0.3 + 0.11 * round_, server.process.kill)
            killer.start()
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):  # half an answer, too
                for i in range(100_000):
                    id_ = f"{round_}-{i}"
                    server.answer([RED, GREEN, BLUE][i % 3], id=id_)
                    server.ask(FEEDBACK, {"id": id_, "labels": [i % 3]})
                    confirmed += 1
            killer.join()
            assert server.process.wait(patient_s(60)) == -signal.SIGKILL
            server.start()
        server.until("first000")
        assert server.answer(BLUE) == (2, "first000")
    with LocalSet.open(local_set_of(home, TASK)) as local:
        counts = local.counts()
    assert confirmed > 3
    assert confirmed <= counts.labelled <= confirmed + 3  # of each kill one more may have become durable
    assert counts.wrong == 0


def test_a_damaged_pointer_and_model_cost_no_answer_over_a_restart(tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = folder_of(home, TASK)
    use_model(folder, "first000", classifier(tmp_path / "a.onnx"), None, "first")
    use_model(folder, "second00", classifier(tmp_path / "b.onnx", 1), None, "adopted")
    with running(home) as server:
        server.until("second00")
        (models_of(folder) / "second00.onnx").write_bytes(b"bits that fell over")
        server.process.kill()
        server.process.wait()
        server.start()
        server.until("first000")
        assert server.answer(RED) == (0, "first000")
        pointer_of(folder).write_bytes(b"{")
        for _ in moments(30):
            report = read_report(folder)
            if report is not None and "is damaged" in report.fault:
                break
        assert server.answer(RED) == (0, "first000")
        report = read_report(folder)
        assert report is not None
        assert "is damaged" in report.fault


def test_swaps_under_load_drop_and_mix_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = folder_of(home, TASK)
    models = [classifier(tmp_path / f"{i}.onnx", i) for i in range(3)]
    versions = [hashlib.sha256(model.read_bytes()).hexdigest()[:8] for model in models]
    use_model(folder, versions[0], models[0], None, "first")
    stop, faults, answered = threading.Event(), list[str](), [0, 0]
    with running(home) as server:
        server.until(versions[0])

        def load(number: int) -> None:
            while not stop.is_set():
                try:
                    answer, version = server.answer(RED)
                except OSError as error:
                    faults.append(str(error))
                    return
                if versions[answer] != version:
                    faults.append(f"{version} answered {answer}")
                answered[number] += 1

        threads = [threading.Thread(target=load, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for i in range(1, 7):
            use_model(folder, versions[i % 3], models[i % 3], None, "test")
            server.until(versions[i % 3])
        stop.set()
        for thread in threads:
            thread.join()
        report = server.ask(f"/v2/models/{TASK}")
    assert faults == []
    assert min(answered) > 20
    assert report["versions"] == [versions[0]]


NODE = """
name = "served"
discovery = false
[tasks.colours.serve]
port = {port}
"""


def test_a_node_keeps_its_server_and_the_server_outlives_it(tmp_path: Path) -> None:
    home, port = tmp_path / "home", free_port()
    (tmp_path / "node.toml").write_text(NODE.format(port=port), "utf-8")
    folder = folder_of(home, TASK)
    use_model(folder, "first000", classifier(tmp_path / "a.onnx"), None, "first")
    argv = ["-m", "muster.cli.main", "node", "--config", str(tmp_path / "node.toml"), "--home", str(home)]
    with running(home, argv, port) as node:
        node.until("first000")
        before = read_report(folder)
        assert before is not None
        node.process.kill()
        node.process.wait()
        assert node.answer(GREEN) == (1, "first000")
        node.start()
        for _ in moments(60):
            if f"(process {before.pid})" in (home / "output").read_text():
                break
        assert alive(before)  # the same one
        os.kill(before.pid, signal.SIGKILL)
        for _ in moments(60):
            after = read_report(folder)
            if after is not None and after.pid != before.pid and alive(after):
                break
        node.until("first000")
        assert node.answer(GREEN) == (1, "first000")
        node.process.terminate()
        assert node.process.wait(patient_s(60)) == 0
        after = read_report(folder)
        assert after is not None
        assert not alive(after)
    assert "it starts again" in (home / "output").read_text()


def test_one_server_a_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running(home) as server:
        for _ in moments(60):
            with contextlib.suppress(urllib.error.HTTPError, OSError):
                server.ask("/v2/health/live")
                break
        argv = [sys.executable, "-m", "muster.cli.main", "serve", TASK, "--home", str(home)]
        for _ in moments(60):
            if read_report(folder_of(home, TASK)) is not None:
                break
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=patient_s(60))
        assert done.returncode == 12
        where = f"http://127.0.0.1:{server.port}/ (process {server.process.pid})"
        assert done.stderr == f"muster: {TASK} is served already at {where}\n"
        assert "no model is in use for colours: `muster use COMMIT`" in (home / "output").read_text()


def test_a_server_ends_when_its_folder_is_deleted(tmp_path: Path) -> None:
    import shutil

    home = tmp_path / "home"
    with running(home) as server:
        for _ in moments(60):
            if read_report(folder_of(home, TASK)) is not None:
                break
        time.sleep(0.1)
        shutil.rmtree(home / "serve")
        assert server.process.wait(patient_s(60)) == 0
