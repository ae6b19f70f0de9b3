"""What serving costs beside plain onnxruntime behind the same HTTP server, in one run.

    python bench/serving/serving_cost.py [--rounds 60] [--json FILE]

Both servers are up; 2 keep-alive connections ask one, then the other, for half a second each, one image at a
time.  Counted are requests per CPU second of the server, resident memory, and (five starts each) seconds
from the start of the process to the first answer "ready".  Targets: 95 % of the requests per CPU second of
plain onnxruntime (binary), no torch, 90 MB, 1 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import load
from muster.serving.paths import folder_of
from muster.serving.pointer import use_model
from served_models import SHAPES, export

PLAIN, BINARY, JSON = "plain", "binary", "json"
SLICE_S = 0.5
STARTS = 5


@dataclass
class Figures:
    per_cpu_s: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    answered: int = 0
    cpu_s: float = 0.0

    def row(self) -> dict[str, float]:
        return {
            "cpu_ms": round(1e3 * self.cpu_s / self.answered, 4),
            "cpu_ms_best": round(1e3 / max(self.per_cpu_s), 4),
            "rps": round(self.answered / SLICE_S / len(self.per_cpu_s), 1),
            "p99_ms": round(float(np.percentile(self.latencies_s, 99)) * 1e3, 2),
        }


@contextlib.contextmanager
def started(argv: list[str], port: int) -> Iterator[tuple[int, float]]:
    """A server's process and the seconds until it was ready."""
    began_s = time.monotonic()
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=load.quiet())
    try:
        yield server.pid, load.until_ready(port, began_s)
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--task", choices=sorted(SHAPES), default="cnn")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    task = given.task
    with tempfile.TemporaryDirectory() as folder:
        home, model = Path(folder) / "home", export(task, Path(folder) / "model.onnx")
        use_model(folder_of(home, task), "bench000", model, None, "benchmark")
        x = np.random.default_rng(0).normal(size=(1, *SHAPES[task])).astype(np.float32)
        ports = {"plain": load.free_port(), "muster": load.free_port()}
        argvs = {
            "plain": [str(Path(__file__).with_name("plain_server.py")), str(model), str(ports["plain"])],
            "muster": ["-m", "muster.serving.main", str(home), task, json.dumps({"port": ports["muster"]})],
        }
        requests = {
            PLAIN: ("plain", load.post("/infer", x.tobytes(), {"Content-Type": "application/octet-stream"})),
            BINARY: ("muster", load.oip(task, x, binary=True)),
            JSON: ("muster", load.oip(task, x, binary=False)),
        }
        cold_s: dict[str, list[float]] = {"plain": [], "muster": []}
        for name in ("plain", "muster") * STARTS:
            with started([sys.executable, *argvs[name]], ports[name]) as (_, seconds):
                cold_s[name].append(round(seconds, 3))
        figures = {kind: Figures() for kind in requests}
        with contextlib.ExitStack() as stack:
            pids = {
                name: stack.enter_context(started([sys.executable, *argvs[name]], ports[name]))[0]
                for name in argvs
            }
            for number in range(-1, given.rounds):
                for kind in list(requests)[:: 1 if number % 2 else -1]:
                    name, request = requests[kind]
                    before_s = load.cpu_s(pids[name])
                    found = load.run(ports[name], request, SLICE_S)
                    assert not found.failed, f"{kind}: {found.failed} requests failed"
                    spent_s = load.cpu_s(pids[name]) - before_s
                    if number >= 0:  # the first round warms up
                        figures[kind].per_cpu_s.append(found.answered / spent_s)
                        figures[kind].answered += found.answered
                        figures[kind].cpu_s += spent_s
                        figures[kind].latencies_s += found.latencies_s
            memory = {name: load.memory_mb(pid) for name, pid in pids.items()}
            torch = "torch" in Path(f"/proc/{pids['muster']}/maps").read_text()
    result: dict[str, object] = {kind: found.row() for kind, found in figures.items()}
    for kind in (BINARY, JSON):
        pairs = zip(figures[kind].per_cpu_s, figures[PLAIN].per_cpu_s, strict=True)
        ratios = sorted(one / plain for one, plain in pairs)
        quarter = len(ratios) // 4
        result[f"{kind}_of_plain"] = {
            "median": round(statistics.median(ratios), 3),
            "half of the rounds": [round(ratios[quarter], 3), round(ratios[-1 - quarter], 3)],
            "of the best rounds": round(max(figures[kind].per_cpu_s) / max(figures[PLAIN].per_cpu_s), 3),
        }
    result |= {
        name: {"cold_s": cold_s[name], "rss_mb": round(rss, 1), "pss_mb": round(pss, 1)}
        for name, (rss, pss) in memory.items()
    }
    result["torch"] = torch
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1), "utf-8")


if __name__ == "__main__":
    main()
