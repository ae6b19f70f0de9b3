"""A picture of accuracy against bytes, from logs of bytes_to_accuracy.py and figures that others published.

    python bench/learning/accuracy_svg.py --log runs.jsonl --to docs/images/bytes-to-accuracy.svg

The x axis is payload bytes a node, up + down, logarithmic (dense fp32: 4 bytes a weight); the y axis
is test accuracy from 80 % on.  Dots are published figures for MNIST: what the DeComFL
repository's own runs took; its bytes are uplink only where it says so.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bytes_training import WEIGHTS

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 440, 60, 50, 20, 20
X_MIN, X_MAX, Y_MIN, Y_MAX = 1e3, 1e8, 0.80, 1.0
COLOURS = ("#0b6e99", "#c2571a", "#4d7c0f", "#7c3aed", "#b91c1c", "#475569", "#0f766e")
PUBLISHED = (  # bytes, accuracy, words; CNN of 28,938 parameters, i.i.d. there
    (4.5e6, 0.97, "FedAvg, 10 steps, 97 %"),
    (9.2e6, 0.98, "FedAvg, 10 steps, 98 %"),
    (150e3, 0.95, "DeComFL, up only, 95 %"),
    (580e3, 0.97, "DeComFL, up only, 97 %"),
)


@dataclass(frozen=True)
class Line:
    words: str
    points: list[tuple[float, float]]  # bytes, accuracy


def x_of(size_bytes: float) -> float:
    share = (math.log10(size_bytes) - math.log10(X_MIN)) / (math.log10(X_MAX) - math.log10(X_MIN))
    return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, share))


def y_of(accuracy: float) -> float:
    share = (accuracy - Y_MIN) / (Y_MAX - Y_MIN)
    return TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - min(1.0, max(0.0, share)))


def line_of(run: dict[str, Any]) -> Line:
    how, model = run["setting"], run["model"]
    dense = how["up"] == "dense32"
    name = how["up"] if how["up"] == how["down"] else f"{how['up']} / {how['down']}"
    name = "dense fp32" if dense else name
    plain = 2 * 4.0 * WEIGHTS[model]
    points = [(n * plain if dense else size, accuracy) for n, size, accuracy in run["points"]]
    return Line(f"{model}, {run['split']}, seed {run['seed']}: {name}", points)


def picture(lines: list[Line]) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_axes(),
    ]
    for i, line in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{x_of(b):.1f},{y_of(a):.1f}" for b, a in line.points if a >= Y_MIN)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = HEIGHT - BOTTOM - 14 - 16 * (len(lines) - 1 - i)
        place = f'x="{WIDTH - RIGHT - 8}" y="{y}" text-anchor="end"'
        parts.append(f'<text {place} fill="{colour}">{line.words}</text>')
    for size_bytes, accuracy, words in PUBLISHED:
        x, y = x_of(size_bytes), y_of(accuracy)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="none" stroke="#111"/>')
        place = f'x="{x - 7:.1f}" y="{y - 5:.1f}" text-anchor="end"'
        parts.append(f'<text {place} fill="#111" font-size="11">{words}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes() -> list[str]:
    parts = []
    names = {3: "1 kB", 4: "10 kB", 5: "100 kB", 6: "1 MB", 7: "10 MB", 8: "100 MB"}
    for power, name in names.items():
        x = x_of(10.0**power)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{name}</text>')
    for percent in range(80, 101, 5):
        y = y_of(percent / 100)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    place = f'x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle"'
    parts.append(f"<text {place}>payload a node, up + down</text>")
    return parts


def best_dense(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the dense runs that another one of the same model, split and seed beats."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in runs:
        key = (run["model"], run["split"], run["seed"])
        if (
            run["setting"]["up"] == "dense32"
            and run["held_best"] > best.get(key, {"held_best": 0.0})["held_best"]
        ):
            best[key] = run
    return [run for run in runs if run["setting"]["up"] != "dense32" or run in best.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, nargs="+", required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--best", action="store_true", help="of a split's and seed's dense runs the best")
    given = parser.parse_args()
    runs = [json.loads(text) for path in given.log for text in path.read_text().splitlines()]
    if given.best:
        runs = best_dense(runs)
    given.to.write_text(picture([line_of(run) for run in runs]))


if __name__ == "__main__":
    main()
