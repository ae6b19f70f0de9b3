"""Smaller models: time of a step by width, bytes to 90 % at half width, pruning while a job trains; and a row
each for what was measured and not built.

    python bench/learning/slimming.py --data MNIST.npz --log slimming.jsonl

Ten nodes with two classes each train a CNN of 5,994 weights in one process: 20 steps a round, rate 0.1, round
momentum 0.5, `stc` with as many elements a message at every width, but for one row.  Judged is the mean of
the last five commits on 5,000 test images; 90 % is reached at the first of three rounds in a row.  What is in
the log is not run again, so that the benchmark goes on where it was ended.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bytes_training import Data, held_best, reached
from muster.compression import parse
from muster.coresets.coreset import Space
from muster.coresets.kinds.make import make
from slimming_federation import Way, curve, gradually, models
from slimming_nets import NETS, WIDTHS, step_times

TARGET, ROUNDS, DENSE_ROUNDS = 0.90, 60, 24
WAYS = {
    "full": Way(),
    "half": Way(width=0.5),
    "half, 2 % of its own weights a message": Way(width=0.5, density=0.02 * 2202 / 5994),
    "pruned in rounds 12 to 24": Way(prune=gradually(12, 24, 0.5)),
    "pruned at once in round 12": Way(prune=((12, 0.5),)),
    "pruned at once in round 12, by chance": Way(prune=((12, 0.5),), by="chance"),
}
LAST = Way(density=0.0)
SLICES = {
    "all at full width": LAST,
    "the last node left out": replace(LAST, without_last=True),
    "the last node trains half a slice": replace(LAST, slice_of_last=0.5),
}
SHARES = (0.0025, 0.01, 0.02, 0.04)  # of the weights that an update sends
ACTIVE = 0.2  # of the weights, under an unstructured mask
SAMPLES = 100  # medoids a node, as an evaluation set


class Log:
    """Finished cells by name, one JSON object a line."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self.cells: dict[str, Any] = {row["cell"]: row["value"] for row in map(json.loads, lines)}

    def cell(self, name: str, run: Callable[[], Any]) -> Any:
        if name not in self.cells:
            sys.stderr.write(f"{name}\n")
            self.cells[name] = run()
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps({"cell": name, "value": self.cells[name]}) + "\n")
        return self.cells[name]


def trained(data: Data, how: Way, rounds: int, seed: int) -> dict[str, float | None]:
    points = list(curve(data, how, rounds, seed))
    first = reached(points, TARGET)
    return {
        "bytes": first.bytes if first else None,
        "rounds": first.round if first else None,
        "best": 100 * held_best(points),
        "end": 100 * statistics.mean(p.accuracy for p in points[-3:]),
    }


def alone_with_two(path: Path, seed: int) -> Data:
    """Nine nodes share the classes 0 to 7 by chance, the tenth alone has 8 and 9."""
    data, rng = Data(path, "iid", 10, seed), np.random.default_rng(seed)
    labels = data.y.numpy()
    others = rng.permutation(np.flatnonzero(labels < 8))
    data.parts = [torch.from_numpy(p) for p in (*np.array_split(others, 9), np.flatnonzero(labels >= 8))]
    data.weights = np.array([len(part) for part in data.parts], float) / len(labels)
    return data


def sliced(path: Path, how: Way) -> dict[str, float]:
    """HeteroFL's slices, aggregated by the mean of who has a weight: all classes, and the last node's two."""
    data = alone_with_two(path, 1)
    *_, (_, right) = models(data, how, DENSE_ROUNDS, 1)
    own = data.y_test[: len(right)].numpy() >= 8
    return {"all": 100 * float(right.mean()), "own": 100 * float(right[own].mean())}


def masks() -> list[dict[str, float]]:
    """What a mask that leaves a fifth of the weights active saves in a message of as many elements, and what
    it takes to send it."""
    size, rng, rows = 5994, np.random.default_rng(0), []
    active = round(size * ACTIVE)
    for share in SHARES:
        whole, part = (
            len(
                parse(f"stc:{min(1.0, share * size / n):.6f}").encode(
                    rng.normal(size=n).astype(np.float32), 0
                )
            )
            for n in (size, active)
        )
        bits = size * -(ACTIVE * np.log2(ACTIVE) + (1 - ACTIVE) * np.log2(1 - ACTIVE))
        rows.append({"share": share, "bytes": whole, "masked": part, "mask_bytes": float(bits / 8)})
    return rows


def evaluation_sets(path: Path) -> dict[str, float]:
    """Mean error, in points, of a commit's accuracy by what nodes hold out and by medoids of what they train
    on; over the commits of 12 rounds."""
    data = Data(path, "classes:2", 10, 1)
    rng = np.random.default_rng(1)
    images = data.x.contiguous().numpy()
    space = Space("image", images.shape[1:], images.min()[None], images.max()[None], 10)
    held = torch.from_numpy(
        np.concatenate([rng.choice(p.numpy(), len(p) // 10, replace=False) for p in data.parts])
    )
    train = [torch.from_numpy(np.setdiff1d(p.numpy(), held.numpy())) for p in data.parts]
    sets = [make("medoids", images[p], data.y[p].numpy(), SAMPLES, space, 3, rng) for p in train]
    x = torch.from_numpy(np.concatenate([s.inputs() for s in sets]))
    y = np.concatenate([s.labels for s in sets])
    weight = np.concatenate([s.weights for s in sets])
    data.parts = train
    errors: dict[str, list[float]] = {"held out": [], "medoids": []}
    for net, right in models(data, LAST, 12, 1):
        truth = right.mean()
        with torch.no_grad():
            medoids = np.average((net(x).argmax(1).numpy() == y), weights=weight)
            held_out = (net(data.x[held]).argmax(1) == data.y[held]).double().mean()
        errors["held out"].append(abs(float(held_out) - truth))
        errors["medoids"].append(abs(medoids - truth))
    return {name: 100 * float(np.mean(found)) for name, found in errors.items()}


def run(path: Path, seeds: list[int], log: Log) -> dict[str, Any]:
    result: dict[str, Any] = {"steps": {n: log.cell(f"steps {n}", lambda n=n: step_times(n)) for n in NETS}}
    result["not built"] = {
        "masks": masks(),
        "slices": {n: log.cell(f"slices: {n}", lambda w=w: sliced(path, w)) for n, w in SLICES.items()},
        "evaluation sets": log.cell("evaluation sets", lambda: evaluation_sets(path)),
    }
    result["trained"] = {
        name: [
            log.cell(
                f"{name}, seed {seed}",
                lambda way=way, seed=seed: trained(Data(path, "classes:2", 10, seed), way, ROUNDS, seed),
            )
            for seed in seeds
        ]
        for name, way in WAYS.items()
    }
    return result


def table(result: dict[str, Any]) -> str:
    lines = ["| net | weights | step ms at " + ", ".join(f"{w:g}" for w in WIDTHS) + " | times faster |"]
    lines.append("|---|---|---|---|")
    for name, by_width in result["steps"].items():
        ms = [by_width[f"{w:g}"]["step_ms"] for w in WIDTHS]
        faster = ", ".join(f"{ms[0] / t:.2f}" for t in ms[1:])
        weights = by_width["1"]["weights"]
        lines.append(f"| {name} | {weights:,} | {', '.join(f'{t:.2f}' for t in ms)} | {faster} |")
    lines += ["", "| way | kB to 90 %, by seed | rounds | best held | at the end |", "|---|---|---|---|---|"]
    for name, runs in result["trained"].items():
        kb = ", ".join("-" if r["bytes"] is None else f"{r['bytes'] / 1000:.1f}" for r in runs)
        rounds = ", ".join(str(r["rounds"] or "-") for r in runs)
        best, end = (", ".join(f"{r[k]:.1f}" for r in runs) for k in ("best", "end"))
        lines.append(f"| {name} | {kb} | {rounds} | {best} | {end} |")
    lines += ["", "Not built:", ""]
    for row in result["not built"]["masks"]:
        saved = row["bytes"] - row["masked"]
        pays = row["mask_bytes"] / saved if saved > 0 else float("inf")
        lines.append(
            f"* a mask with {ACTIVE:.0%} of the weights active, stc {row['share']:.2%}: {row['bytes']} to "
            f"{row['masked']} bytes a message; a mask of {row['mask_bytes']:.0f} bytes pays after {pays:.0f}"
        )
    for name, found in result["not built"]["slices"].items():
        lines.append(f"* {name}: {found['all']:.1f} %, on its two classes {found['own']:.1f} %")
    for name, error in result["not built"]["evaluation sets"].items():
        lines.append(f"* accuracy of a commit by {name}: {error:.1f} points off on average")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="MNIST as .npz")
    parser.add_argument("--seeds", default="1,2,3", type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument("--log", type=Path, help="JSON lines of finished cells, read and extended")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.nice(10)
    result = run(args.data, args.seeds, Log(args.log))
    sys.stdout.write(table(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
