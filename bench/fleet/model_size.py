"""What a model's size costs: encoding, decoding and adding up against a memory copy, and the daemon's memory.

    python bench/fleet/model_size.py [--sizes 1 10 100] [--repeats 9] [--state FILE] [--json FILE]

For models of 1, 10 and 100 MB (an MLP's fp32 matrices) the same process copies the bytes into new memory,
encodes an update (`encode_update`), decodes it (`decode_update`) and adds it to a round's sum (`accumulate`),
in turn, `repeats` times; the figure is the median of each over the median of the copy, in processor time: on
a busy machine what takes longer than a scheduler's slice (3 ms) waits for others, and a copy of 1 MB never
does.  The process is set up as the daemon's worker is (huge pages).  Then three daemons on loopback train a
model of that size with dense32, as loop_lag.py has it: what a daemon needed beyond what it had before the
job, what its worker needed, and how late its event loop was.  What is in FILE of --state is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from loop_lag import run as run_job
from muster.algorithms import aggregation
from muster.compression.codecs.families import parse
from muster.compression.model import decode_update, encode_update
from muster.compression.tensors import Layout, TensorSpec
from muster.node.worker.process import HUGE_PAGES
from small_fleet import machine, write

CODECS = ("dense32", "dense16", "quant8", "stc:0.01")
DEPTH = 5


def layout_of(mb: float) -> Layout:
    width = int((mb * 1e6 / 4 / DEPTH) ** 0.5)
    return Layout(tuple(TensorSpec(f"layer{i}.weight", (width, width), "float32") for i in range(DEPTH)))


def arithmetic(mb: float, repeats: int) -> dict[str, Any]:
    """Milliseconds of each piece of work, and how often that of a copy."""
    layout, rng = layout_of(mb), np.random.default_rng(0)
    update = {s.name: rng.normal(size=s.shape).astype(np.float32) * 1e-3 for s in layout.tensors}
    whole = np.concatenate([array.reshape(-1) for array in update.values()])
    messages = {name: encode_update(parse(name), layout, update, 1) for name in CODECS}
    total = aggregation.init(layout)
    work: dict[str, Callable[[], object]] = {"copy": whole.copy}
    for name in CODECS:
        codec, message = parse(name), messages[name]
        work[f"{name} encode"] = lambda codec=codec: encode_update(codec, layout, update, 1)  # type: ignore[misc]
        work[f"{name} decode"] = lambda message=message: decode_update(layout, message)  # type: ignore[misc]
    work["fold"] = lambda: aggregation.accumulate(total, update, 0.3)
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, call in work.items():
            began_s = time.thread_time()
            made = call()
            taken[name].append(1000 * (time.thread_time() - began_s))
            del made
    median = {name: statistics.median(found) for name, found in taken.items()}
    return {
        "mb": mb,
        "ms": {name: round(ms, 2) for name, ms in median.items()},
        "copies": {name: round(ms / median["copy"], 2) for name, ms in median.items()},
        "message_mb": {name: round(len(message) / 1e6, 2) for name, message in messages.items()},
    }


def measured(mb: float, repeats: int) -> dict[str, Any]:
    """`arithmetic` in a process of its own."""
    argv = [sys.executable, __file__, "--arithmetic", str(mb), "--repeats", str(repeats)]
    done = subprocess.run(
        argv, env=os.environ | {"GLIBC_TUNABLES": HUGE_PAGES}, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=float, nargs="+", default=[1.0, 10.0, 100.0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--arithmetic", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, help="what was measured before, and where to put what is new")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.arithmetic:
        print(json.dumps(arithmetic(given.arithmetic, given.repeats)))
        return
    state = json.loads(given.state.read_text()) if given.state and given.state.exists() else {}
    print(f"Sizes of models on {machine()}, load {os.getloadavg()[0]:.1f}\n")
    print("| MB | copy | dense32: encode | decode | fold | daemon beyond idle | worker | loop under 50 ms |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for mb in given.sizes:
        row = state.setdefault(f"{mb:g}", {})
        if "arithmetic" not in row:
            row["arithmetic"] = measured(mb, given.repeats)
            write(given.state, state)
        if "job" not in row:
            row["job"] = run_job(mb, "dense32", False, 3, False)
            write(given.state, state)
        times, job = row["arithmetic"]["copies"], row["job"]
        rows.append(row)
        print(
            f"| {mb:g} | {row['arithmetic']['ms']['copy']:.1f} ms | {times['dense32 encode']:.1f} x | "
            f"{times['dense32 decode']:.1f} x | {times['fold']:.1f} x | {job['peak_mb']} MB | "
            f"{job['worker_mb']} MB | {job['under_50_percent']:.2f} % |",
            flush=True,
        )
    for row in rows:
        found = row["arithmetic"]
        print(f"\n{found['mb']:g} MB, in copies: {found['copies']}\nmessages in MB: {found['message_mb']}")
    write(given.json, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
