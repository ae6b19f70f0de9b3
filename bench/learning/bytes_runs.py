"""Runs of `bytes_training` kept in a log, compared with dense FedAvg or judged by limits, as tables."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bytes_training import (
    FLAGSHIP,
    HELD,
    WEIGHTS,
    Data,
    Point,
    Setting,
    curve,
    held_best,
    reached,
)


def run(
    kind: str, data: Data, how: Setting, rounds: int, split_name: str, seed: int, every: int
) -> dict[str, Any]:
    """One training as a value for the log."""
    start = time.perf_counter()
    points = list(curve(kind, data, how, rounds, seed, every))
    return {
        "model": kind,
        "split": split_name,
        "seed": seed,
        "rounds": rounds,
        "every": every,
        "setting": asdict(how),
        "points": [[p.round, round(p.bytes, 1), p.accuracy] for p in points],
        "held_best": held_best(points) if len(points) >= HELD else None,
        "wall_s": round(time.perf_counter() - start, 1),
    }


class Log:
    """Finished runs, one JSON object a line; a run that is in it already is not repeated."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path and path.exists() else []
        self.runs = [json.loads(line) for line in lines]

    def get(
        self,
        path: Path,
        kind: str,
        how: Setting,
        rounds: int,
        split_name: str,
        seed: int,
        every: int,
        nodes: int = 10,
    ) -> dict[str, Any]:
        wanted = (kind, split_name, seed, rounds, every, asdict(how))
        for done in self.runs:
            if wanted == tuple(done[k] for k in ("model", "split", "seed", "rounds", "every", "setting")):
                return done
        done = run(kind, Data(path, split_name, nodes, seed), how, rounds, split_name, seed, every)
        self.runs.append(done)
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps(done) + "\n")
        best = "-" if done["held_best"] is None else f"{done['held_best']:.2%}"
        what = f"{split_name} seed {seed} {how.up} / {how.down} lr {how.lr}"
        sys.stderr.write(f"{what}: held best {best}, {done['wall_s']} s\n")
        return done


def points_of(done: dict[str, Any]) -> list[Point]:
    return [Point(*point) for point in done["points"]]


def compare(log: Log, args: argparse.Namespace, settings: list[Setting]) -> dict[str, Any]:
    """Every setting against dense FedAvg at the best rate of its grid, split by split, seed by seed."""
    rows = []
    for name in args.splits.split(","):
        tuned: float | None = None
        for seed in args.seeds:
            fetch = (args.data, args.model)
            rates = args.dense_rates if tuned is None else [tuned]
            dense = [
                log.get(*fetch, replace(args.base, lr=lr), args.rounds, name, seed, args.every)
                for lr in rates
            ]
            best = max(dense, key=lambda d: d["held_best"])
            if args.tune_once:
                tuned = best["setting"]["lr"]
            target = best["held_best"] - args.below
            arrivals = [p for d in dense if (p := reached(points_of(d), target))]
            first = min(arrivals, key=lambda p: p.round)
            plain = first.round * 2 * 4.0 * WEIGHTS[args.model]
            for how in settings:
                rounds = args.codec_rounds or args.rounds
                arrived = reached(points_of(log.get(*fetch, how, rounds, name, seed, args.every)), target)
                rows.append(
                    {
                        "split": name,
                        "seed": seed,
                        "up": how.up,
                        "down": how.down,
                        "lr": how.lr,
                        "target": target,
                        "dense_lr": best["setting"]["lr"],
                        "dense_bytes": plain,
                        "dense_packed_bytes": first.bytes,
                        "dense_round": first.round,
                        "bytes": arrived.bytes if arrived else None,
                        "round": arrived.round if arrived else None,
                        "times_fewer": plain / arrived.bytes if arrived else None,
                        "times_fewer_than_packed": first.bytes / arrived.bytes if arrived else None,
                    }
                )
    return {"rows": rows}


def compare_table(result: dict[str, Any]) -> str:
    lines = [
        "| split | seed | target | dense fp32 | packed | up / down | bytes | rounds | fewer | than packed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        dense = f"{row['dense_bytes'] / 1e6:.2f} MB ({row['dense_round']} rounds, lr {row['dense_lr']})"
        dense += f" | {row['dense_packed_bytes'] / 1e6:.2f} MB"
        mine = "- | - | - | -"
        if row["bytes"]:
            times = f"{row['times_fewer']:.0f} | {row['times_fewer_than_packed']:.0f}"
            mine = f"{row['bytes'] / 1e3:.1f} kB | {row['round']} | {times}"
        codecs = f"{row['up']} / {row['down']}, lr {row['lr']}"
        lines.append(
            f"| {row['split']} | {row['seed']} | {row['target']:.2%} | {dense} | {codecs} | {mine} |"
        )
    return "\n".join(lines) + "\n"


def flagship(log: Log, args: argparse.Namespace, settings: list[Setting]) -> dict[str, Any]:
    """cnn6k, two classes each of ten nodes: bytes to 95 % and 97 %, and the best held within each limit."""
    rows = []
    for how in settings:
        seeds = []
        for seed in args.seeds:
            rounds = args.codec_rounds or args.rounds
            points = points_of(log.get(args.data, "cnn6k", how, rounds, "classes:2", seed, args.every))
            row: dict[str, Any] = {"seed": seed, "held_best": held_best(points)}
            for target, limit in FLAGSHIP.items():
                arrived = reached(points, target)
                row[f"bytes_{target}"] = arrived.bytes if arrived else None
                within = [p for p in points if p.bytes <= limit]
                row[f"held_at_{limit}"] = held_best(within) if len(within) >= HELD else None
            seeds.append(row)
        medians = {}
        for target, limit in FLAGSHIP.items():
            spent = [
                r[f"bytes_{target}"] if r[f"bytes_{target}"] is not None else float("inf") for r in seeds
            ]
            middle = statistics.median(spent)
            medians[str(target)] = {"limit": limit, "bytes": middle if middle < float("inf") else None}
            medians[str(target)]["met"] = middle <= limit
        rows.append({"setting": asdict(how), "seeds": seeds, "median": medians})
    return {"rows": rows}


def flagship_table(result: dict[str, Any]) -> str:
    lines = [
        "| up / down | lr | steps | seed | 95 % held | 97 % held | best in 15 kB | best in 30 kB |",
        "|---|---|---|---|---|---|---|---|",
    ]

    def kilobytes(value: float | None) -> str:
        return "-" if value is None else f"{value / 1e3:.1f} kB"

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.2%}"

    for row in result["rows"]:
        how, middle = row["setting"], row["median"]
        left = f"| {how['up']} / {how['down']} | {how['lr']} | {how['steps']} |"
        for seed in row["seeds"]:
            cells = (kilobytes(seed["bytes_0.95"]), kilobytes(seed["bytes_0.97"]))
            best = (share(seed["held_at_15000"]), share(seed["held_at_30000"]))
            lines.append(f"{left} {seed['seed']} | {' | '.join(cells + best)} |")
        cells = (kilobytes(middle["0.95"]["bytes"]), kilobytes(middle["0.97"]["bytes"]))
        lines.append(f"{left} **median** | {' | '.join(cells)} | | |")
    return "\n".join(lines) + "\n"
