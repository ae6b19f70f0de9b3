"""Fifty swaps of a model of 11 million parameters (ResNet-18, 32x32) under load: answers, time, memory.

    python bench/serving/swaps.py [--swaps 50] [--json FILE]

Two connections ask for one image at a time; each answer is compared with what the model of its
`model_version` answers.  Memory is resident, after the third swap (both models were loaded by then) and
after the last one.
Targets: none failed, none mixed, at most 10 % more memory.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

import load
from muster.serving.paths import folder_of
from muster.serving.pointer import use_model
from muster.serving.report import read_report
from served_models import SHAPES, export

TASK = "resnet18"
PAUSE_S = 1.5  # requests with each model
SETTLED = 3


def answers_of(models: dict[str, Path], x: np.ndarray) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return {
        version: ort.InferenceSession(str(path), options).run(["output"], {"input": x})[0]
        for version, path in models.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    x = np.random.default_rng(0).normal(size=(1, *SHAPES[TASK])).astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        folder = folder_of(home, TASK)
        models = {f"model{i}": export(TASK, Path(scratch) / f"{i}.onnx", i) for i in range(2)}
        right = answers_of(models, x)
        use_model(folder, "model0", models["model0"], None, "first")
        port = load.free_port()
        argv = [sys.executable, "-m", "muster.serving.main", str(home), TASK, json.dumps({"port": port})]
        server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=load.quiet())
        load.until_ready(port, time.monotonic())
        stop = threading.Event()

        def check(head: bytes, body: bytes) -> bool:
            found = json.loads(body[: int(re.search(rb"header-content-length: (\d+)", head.lower())[1])])  # type: ignore[index]
            output = np.frombuffer(body[-40:], np.float32)
            return bool(np.allclose(output, right[found["model_version"]][0], atol=1e-3))

        total = load.Load()

        def keep_asking() -> None:
            while not stop.is_set():
                found = load.run(port, load.oip(TASK, x, binary=True), 1.0, 2, check)
                total.answered += found.answered
                total.failed += found.failed
                total.wrong += found.wrong
                total.latencies_s += found.latencies_s

        asking = threading.Thread(target=keep_asking)
        asking.start()
        memory_mb, took_s = [], []
        for number in range(1, given.swaps + 1):
            version = f"model{number % 2}"
            began_s = time.monotonic()
            use_model(folder, version, models[version], None, "benchmark")
            while (report := read_report(folder)) is None or report.version != version:
                time.sleep(0.02)
            took_s.append(time.monotonic() - began_s)
            time.sleep(PAUSE_S)
            memory_mb.append(round(load.memory_mb(server.pid)[0], 1))
            print(number, version, memory_mb[-1], total.answered, total.failed, total.wrong, flush=True)
        stop.set()
        asking.join()
        server.terminate()
        server.wait()
    settled, last = memory_mb[SETTLED - 1], statistics.median(memory_mb[-3:])
    result = {
        "swaps": given.swaps, "answered": total.answered, "failed": total.failed, "mixed": total.wrong,
        "p99_ms": round(total.p99_ms, 1), "settled_mb": settled, "last_mb": last, "most_mb": max(memory_mb),
        "growth": round(last / settled - 1, 3), "seconds_until_in_use": round(statistics.median(took_s), 2),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps({**result, "memory_mb": memory_mb}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
