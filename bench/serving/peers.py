"""BentoML beside Muster on the same model, in JSON as BentoML asks for it: CPU a request, memory, cold start.

    python -m venv /tmp/peers && /tmp/peers/bin/pip install bentoml onnxruntime
    python bench/serving/peers.py /tmp/peers [--seconds 8] [--json FILE]

Measured once, one server after the other, on two connections as in serving_cost.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import load
from muster.serving.paths import folder_of
from muster.serving.pointer import use_model
from served_models import SHAPES, export

SERVICE = """
import bentoml
import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1


@bentoml.service(workers=1)
class Model:
    def __init__(self) -> None:
        self.session = ort.InferenceSession({model!r}, options)

    @bentoml.api
    def infer(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(["output"], {{"input": x.astype(np.float32)}})[0]
"""


def measure(
    argv: list[str], port: int, ready: str, request: bytes, seconds: float, cwd: str
) -> dict[str, float]:
    began_s = time.monotonic()
    env = {**load.quiet(), "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": cwd}
    server = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, cwd=cwd, start_new_session=True
    )
    try:
        cold_s = load.until_ready(port, began_s, ready, 120.0)
        load.run(port, request, 2.0)
        before_s = load.cpu_s(server.pid)
        found = load.run(port, request, seconds)
        spent_s = load.cpu_s(server.pid) - before_s
        rss_mb, pss_mb = load.memory_mb(server.pid)
    finally:
        os.killpg(server.pid, 15)
        server.wait()
    return {
        "cpu_ms": round(1e3 * spent_s / found.answered, 3), "rps": round(found.answered / seconds, 1),
        "p99_ms": round(found.p99_ms, 1), "failed": found.failed, "cold_s": round(cold_s, 2),
        "rss_mb": round(rss_mb, 1), "pss_mb": round(pss_mb, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    x = np.random.default_rng(0).normal(size=(1, *SHAPES["cnn"])).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        model, port = export("cnn", Path(folder) / "model.onnx"), load.free_port()
        (Path(folder) / "service.py").write_text(SERVICE.format(model=str(model)), "utf-8")
        body = json.dumps({"x": x.tolist()}).encode()
        bento = measure(
            [str(given.venv / "bin" / "bentoml"), "serve", "service:Model", "--port", str(port)],
            port, "/readyz", load.post("/infer", body, {"Content-Type": "application/json"}),
            given.seconds, folder,
        )  # fmt: skip
        home, port = Path(folder) / "home", load.free_port()
        use_model(folder_of(home, "cnn"), "bench000", model, None, "benchmark")
        argv = [sys.executable, "-m", "muster.serving.main", str(home), "cnn", json.dumps({"port": port})]
        muster = measure(
            argv, port, "/v2/health/ready", load.oip("cnn", x, binary=False), given.seconds, folder
        )
    result = {"bentoml": bento, "muster, JSON": muster}
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1), "utf-8")


if __name__ == "__main__":
    main()
