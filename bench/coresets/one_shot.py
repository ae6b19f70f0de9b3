#!/usr/bin/env python3
"""What a job of one contact reaches on MNIST, by the bytes that each of ten nodes sends, in one process.

    nice python bench/coresets/one_shot.py --data mnist.npz --out one_shot.jsonl
    python bench/coresets/one_shot.py --out one_shot.jsonl --report

Each node chooses a coreset of its part within a budget (`coresets.choose`), in the coder's real bytes.  One
of them trains on all of these and its own data, as a job's trainer does, from the seed's model; what comes
back is a quant4 difference to that.  Judged on all 10,000 test images.  A line a run; runs that are in the
file are left out, so that it can be stopped at any time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muster.algorithms import splits
from muster.compression.change import difference
from muster.compression.codecs.families import parse
from muster.compression.model import decode_update, encode_with_feedback
from muster.coresets.choose import choose
from muster.coresets.coding import decode, encode
from muster.coresets.coreset import Coreset
from muster.coresets.spaces import default_space
from muster.learning import local_training, params
from muster.learning import mnist as data
from muster.learning.mnist import Mnist
from muster.learning.sources.arrays import as_arrays
from muster.learning.sources.coresets import pool
from muster.planning.pool import DOWN_CODEC, STEPS

NODES, BATCH, LR = 10, 32, 0.1
TARGETS = {
    3_000: 96.5,
    9_000: 97.5,
    30_000: 98.3,
}  # of two classes a node, CNN of 6k; 94.5 from 3 kB without augment
PLAIN_TARGET = 94.5
Arrays = dict[str, Any]


@dataclass(frozen=True)
class Run:
    model: str
    split: str
    budget: int
    augment: bool
    seed: int
    steps: int = STEPS


def runs(every: bool = True) -> Iterator[Run]:
    for seed in (1, 2, 3):
        for split in ("classes:2", "dirichlet:0.1"):
            for budget in TARGETS:
                yield Run("cnn6k", split, budget, True, seed, steps_for(budget))
        yield Run("cnn6k", "classes:2", 3_000, False, seed)
    yield Run("cnn29k", "classes:2", 3_000, True, 1)
    yield Run("cnn29k", "classes:2", 30_000, True, 1, steps_for(30_000))


def steps_for(budget: int) -> int:
    """A pool of ten times as many samples has more to teach: twice and three times the steps."""
    return {3_000: STEPS, 9_000: 2 * STEPS, 30_000: 3 * STEPS}[budget]


def one(run: Run, path: Path) -> dict[str, Any]:
    """Its row: accuracy as trained and of what comes back, bytes up and down, how samples were chosen."""
    torch.set_num_threads(1)
    x, y = data.load(path, "train")
    images = data._images(x)
    coresets, sizes, chose_s = [], [], []
    parts = splits.split(y, run.split, NODES, run.seed)
    for node, part in enumerate(parts):
        began_s = time.process_time()
        coreset, message = shared(images[part], y[part], run.budget, run.seed * 100 + node)
        chose_s.append(time.process_time() - began_s)
        sizes.append(len(message))
        coresets.append((coreset, float(len(part))))
    task = Mnist(model=run.model)
    if not run.augment:
        task.augment = lambda batch: batch  # type: ignore[method-assign]
    own = as_arrays((images[parts[0]], y[parts[0]]), "training_data")
    model = params.fresh_model(task, run.seed)
    layout = params.layout_of(model)
    before = params.arrays_of(model, layout)
    source = pool(coresets[1:], own, task.augment, coresets[0][1])
    began_s = time.process_time()
    local_training.train(task, model, source, steps=run.steps, lr=LR, batch=BATCH, seed=run.seed, cosine=True)
    trained_s = time.process_time() - began_s
    change = difference(layout, before, params.arrays_of(model, layout))
    sent = encode_with_feedback(parse(DOWN_CODEC), layout, change, None, None)
    trained = accuracy(model, path)
    back = decode_update(layout, sent.message)
    params.load_into(model, layout, {name: before[name] + back[name] for name in before})
    return {
        "accuracy": accuracy(model, path), "trained": trained, "up_bytes": round(statistics.fmean(sizes)),
        "up_bytes_max": max(sizes), "down_bytes": len(sent.message),
        "samples": [len(c) for c, _ in coresets], "bits": sorted({c.bits for c, _ in coresets}),
        "kinds": sorted({c.kind for c, _ in coresets}), "choose_s": round(statistics.median(chose_s), 2),
        "train_s": round(trained_s, 1),
    }  # fmt: skip


def shared(x: Any, y: Any, budget: int, seed: int) -> tuple[Coreset, bytes]:
    """What a node sends, and as it is read."""
    rng, space = np.random.default_rng(seed), default_space(x, y, 10)
    coreset = choose(x, y, budget, space, False, rng)
    message = encode(coreset)
    return decode(message, space, samples_max=100_000), message


@torch.no_grad()
def accuracy(model: torch.nn.Module, path: Path) -> float:
    x, y = data.load(path, "test")
    model.eval()
    guessed = [model(torch.from_numpy(data._images(part))).argmax(1) for part in np.array_split(x, 20)]
    return 100 * float((torch.cat(guessed).numpy() == y).mean())


def done(out: Path) -> dict[str, dict[str, Any]]:
    if not out.is_file():
        return {}
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    return {json.dumps(row["run"], sort_keys=True): row for row in rows}


def report(out: Path) -> str:
    """A table: accuracies of the seeds, and the least of them against the target."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in done(out).values():
        run = row["run"]
        key = (run["model"], run["split"], run["budget"], run["augment"], run["steps"])
        found.setdefault(key, []).append(row)
    lines = [
        "| model | split | up / down bytes | samples, bits | augment | steps | accuracy by seed | target |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for (model, split, budget, augment, steps), rows in sorted(found.items()):
        rows.sort(key=lambda row: row["run"]["seed"])
        up = round(statistics.fmean(row["up_bytes"] for row in rows))
        down = round(statistics.fmean(row["down_bytes"] for row in rows))
        count = round(statistics.median(n for row in rows for n in row["samples"]))
        bits = ", ".join(map(str, sorted({b for row in rows for b in row["bits"]})))
        values = ", ".join(f"{row['accuracy']:.1f}" for row in rows)
        target = ""
        if model == "cnn6k" and split == "classes:2":
            target = f"{TARGETS[budget] if augment else PLAIN_TARGET}"
        lines.append(
            f"| {model} | {split} | {up:,} / {down:,} | {count} at {bits} bit | {'yes' if augment else 'no'} "
            f"| {steps} | {values} | {target} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON a run")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--json", type=Path, help="the rows as one JSON file")
    given = parser.parse_args()
    if not given.report:
        known = done(given.out)
        for run in runs():
            key = json.dumps(asdict(run), sort_keys=True)
            if key in known:
                continue
            row = {"run": asdict(run), **one(run, given.data)}
            with given.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    print(report(given.out))
    if given.json:
        given.json.write_text(json.dumps(list(done(given.out).values()), indent=1))


if __name__ == "__main__":
    main()
