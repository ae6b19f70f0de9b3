#!/usr/bin/env python3
"""Which kind of coreset is best for what, at how many bits, and what means tell of single samples.

    python bench/coresets/kinds.py [--data MNIST.npz] [--state FILE] [--seeds 3] [--json FILE]

Tables of scikit-learn: k-means cost and PCA error over that with all data, accuracy of a linear SVM and of an
MLP, by five ways to sum up.  Images (digits, and MNIST if given): accuracy of a network that is trained once
on what all nodes sent, two classes a node.  With `--state` a run that was ended goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch

import image_kinds
import table_kinds

Key = tuple[Any, ...]
Known = dict[Key, dict[str, Any]]
# kind, bits (0: the sender chooses), bytes a node
DIGITS = [
    (kind, bits, budget)
    for budget in (125, 340)
    for kind, bits in (("any", 0), ("samples", 2), ("medoids", 2), ("robust", 2), ("means", 0))
]
MNIST = [
    *(("samples", bits, 2000) for bits in (1, 2, 4, 8)),
    ("any", 0, 2000), ("medoids", 1, 2000), ("robust", 2, 2000), ("means", 0, 2000),
    ("samples", 1, 500), ("medoids", 1, 500), ("means", 0, 500),
]  # fmt: skip
MEMBERSHIP = ((60, 20), (20, 20), (10, 10), (4, 4))  # samples for each centre asked for, and at least so many


def jobs(seeds: int, data: Path | None) -> dict[Key, Callable[[], dict[str, Any]]]:
    """All runs by their keys; the cheap ones first."""
    found: dict[Key, Callable[[], dict[str, Any]]] = {}
    for seed in range(seeds):
        for name, count in table_kinds.CELLS:
            for kind in table_kinds.KINDS:
                found["table", name, count, kind, seed] = _of(table_kinds.figures, name, count, kind, seed)
        for name, runs in (("digits", DIGITS), ("mnist", MNIST)):
            if name == "mnist" and data is None:
                continue
            for run in runs:
                found["one shot", name, *run, seed] = _of(image_kinds.one_shot, name, *run, seed, data)
        for asked, least in MEMBERSHIP:
            found["membership", asked, least, seed] = _of(image_kinds.membership, asked, least, seed, data)
    return dict(sorted(found.items(), key=lambda item: ("mnist" in item[0], item[0][-1])))


def _of(function: Callable[..., dict[str, Any]], *given: Any) -> Callable[[], dict[str, Any]]:
    return lambda: function(*given)


def measure(state: Path | None, seeds: int, data: Path | None) -> Known:
    """All runs; those of `state` are taken from there, the others added to it."""
    known: Known = {}
    if state is not None and state.exists():
        entries = [json.loads(line) for line in state.read_text("utf-8").splitlines()]
        known = {tuple(entry["key"]): entry["what"] for entry in entries}
    for key, run in jobs(seeds, data).items():
        if key in known:
            continue
        known[key] = run()
        print(*key, known[key], flush=True, file=sys.stderr)
        if state is not None:
            with state.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "what": known[key]}) + "\n")
    return known


# ---- what it says ------------------------------------------------------------------------------------


def mean(known: Known, key: Key, what: str) -> float:
    """Over the seeds."""
    return float(np.mean([found[what] for k, found in known.items() if k[:-1] == key]))


def report_tables(known: Known) -> dict[str, Any]:
    print("| data, samples | use | " + " | ".join(table_kinds.KINDS) + " | rank of RCC |")
    print("|---|---|" + "---|" * len(table_kinds.KINDS) + "---|")
    ranks = []
    for name, count in table_kinds.CELLS:
        for use in table_kinds.USES:
            values = {kind: mean(known, ("table", name, count, kind), use) for kind in table_kinds.KINDS}
            order = sorted(values, key=lambda kind: values[kind], reverse=use in ("SVM", "MLP"))
            ranks.append(order.index("RCC per class") + 1)
            cells = " | ".join(
                f"{value:.2f}" if use in ("k-means", "PCA") else f"{100 * value:.1f}"
                for value in values.values()
            )
            print(f"| {name} {count} | {use} | {cells} | {ranks[-1]} |")
    return {"cells": len(ranks), "first": ranks.count(1), "first or second": sum(rank <= 2 for rank in ranks)}


def report_images(known: Known) -> dict[str, Any]:
    print("\n| images, bytes a node | kind, bits | samples a node | accuracy by seed | mean |")
    print("|---|---|---|---|---|")
    said = {}
    for key in dict.fromkeys(k[:-1] for k in known if k[0] == "one shot"):
        rows = [found for k, found in sorted(known.items(), key=str) if k[:-1] == key]
        bits = sorted({bit for row in rows for bit in row["bits"]})
        kinds = "/".join(sorted({kind for row in rows for kind in row["kinds"]}))
        accuracies = [100 * row["accuracy"] for row in rows]
        chosen = ("chosen: " if key[3] == 0 else "") + f"{kinds}, {', '.join(map(str, bits))}"
        print(
            f"| {key[1]} {key[4]} | {chosen} | {mean(known, key, 'samples'):.0f} | "
            f"{', '.join(f'{value:.1f}' for value in accuracies)} | {np.mean(accuracies):.1f} |"
        )
        said[" ".join(map(str, key[1:]))] = round(float(np.mean(accuracies)), 1)
    return said


def report_membership(known: Known) -> dict[str, Any]:
    print("\n| at least | samples a centre (median) | AUC by seed |\n|---|---|---|")
    said = {}
    for asked, least in MEMBERSHIP:
        rows = [found for k, found in known.items() if k[:-1] == ("membership", asked, least)]
        said[f"{least} of {asked}"] = round(float(np.mean([row["auc"] for row in rows])), 3)
        values = ", ".join(f"{row['auc']:.2f}" for row in rows)
        print(f"| {least} | {np.mean([row['samples a centre'] for row in rows]):.0f} | {values} |")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="MNIST as an .npz file")
    parser.add_argument("--state", type=Path, help="keeps each run, and goes on from there")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.nice(5)
    known = measure(given.state, given.seeds, given.data)
    said = {
        "tables": report_tables(known),
        "images": report_images(known),
        "membership": report_membership(known),
    }
    print("\n" + json.dumps(said, indent=1))
    if given.json is not None:
        given.json.write_text(json.dumps(said), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
