"""Size, error, encode and decode speed of every codec, on one core, and its working memory.

    python bench/learning/codecs.py [--sizes 5994,28938,10000000] [--json FILE] [--markdown FILE]

The vector is heavy-tailed like an update (normal times log-normal).  Times are the best of `--repeat`, the
error is |x - decode(encode(x))| / |x|, the bound for sparse ternary is log2 C(d, k) + k bits.

Memory is the peak of what `encode_update`, `decode_update` and `encode_with_feedback` (error feedback
with a residual: what the product runs) take beside their arguments and the message, results included, as
multiples of the largest tensor and of the model: one tensor, twenty equal ones, and an embedding of which
half the rows changed.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from muster.compression import benchmark, decode, parse
from muster.compression.codecs.families import EXAMPLES
from muster.compression.codecs.sparse import kept_count
from muster.compression.tensors import Layout, TensorSpec

NAMES = (*EXAMPLES, "stc:0.1", "stc:0.2")


@dataclass(frozen=True)
class Row:
    codec: str
    weights: int
    size_bytes: int
    estimate_bytes: int
    bits_per_weight: float
    times_fewer: float  # than fp32
    relative_error: float
    encode_s: float
    decode_s: float
    over_entropy: float | None  # message / bound - 1, sparse ternary only


def measure(name: str, vector: np.ndarray, repeat: int) -> Row:
    codec, size = parse(name), vector.size
    encode_s = decode_s = math.inf
    for _ in range(repeat):
        start = time.perf_counter()
        message = codec.encode(vector, np.random.default_rng(0))
        encode_s = min(encode_s, time.perf_counter() - start)
        start = time.perf_counter()
        decoded = decode(message, size)
        decode_s = min(decode_s, time.perf_counter() - start)
    wide = vector.astype(np.float64)
    return Row(
        codec=name,
        weights=size,
        size_bytes=len(message),
        estimate_bytes=codec.estimate_bytes(size),
        bits_per_weight=8 * len(message) / size,
        times_fewer=4 * size / len(message),
        relative_error=float(np.linalg.norm(wide - decoded) / np.linalg.norm(wide)),
        encode_s=encode_s,
        decode_s=decode_s,
        over_entropy=len(message) / entropy_bytes(size, name) - 1 if name.startswith("stc") else None,
    )


@dataclass(frozen=True)
class Used:
    """Working memory over the model's bytes, which are `tensors` times those of its largest tensor."""

    codec: str
    model: str
    tensors: float
    encode: float
    decode: float
    with_feedback: float


def models(weights: int) -> list[tuple[str, Layout, dict[str, np.ndarray]]]:
    """(what it is, its layout, an update) of models with about so many weights."""
    rng = np.random.default_rng(1)
    side = max(1, weights // 20)
    shapes = {
        "one tensor": {"w": (weights,)},
        "20 equal tensors": {f"w{i}": (side,) for i in range(20)},
        "embedding, half its rows": {"table": (max(64, weights // 16), 16), "bias": (16,)},
    }
    found = []
    for what, tensors in shapes.items():
        layout = Layout(tuple(TensorSpec(name, shape, "float32") for name, shape in tensors.items()))
        update = {name: rng.standard_normal(shape, np.float32) for name, shape in tensors.items()}
        if "table" in update:
            update["table"][::2] = 0
        found.append((what, layout, update))
    return found


def memory(names: list[str], weights: int) -> list[Used]:
    found = []
    for what, layout, update in models(weights):
        size_bytes = layout.size_bytes
        tensors = size_bytes / max(spec.size_bytes for spec in layout.tensors)
        for name in names:
            used = benchmark.measure_memory(name, layout, update)
            times = (n / size_bytes for n in (used.encode, used.decode, used.with_feedback))
            found.append(Used(name, what, tensors, *times))
    return found


def memory_table(rows: list[Used]) -> str:
    lines = [
        "| model | codec | encode: x largest tensor | x model | decode: x largest | x model | "
        "send: x largest | x model |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (f"{n * row.tensors:.2f} | {n:.2f}" for n in (row.encode, row.decode, row.with_feedback))
        lines.append(f"| {row.model} | {row.codec} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def entropy_bytes(size: int, name: str) -> float:
    kept = kept_count(float(name.partition(":")[2]), size)
    choose = math.lgamma(size + 1) - math.lgamma(kept + 1) - math.lgamma(size - kept + 1)
    return (choose / math.log(2) + kept) / 8


def table(rows: list[Row]) -> str:
    lines = [
        "| weights | codec | bytes | bits a weight | fewer than fp32 | relative error | encode | decode | "
        "over entropy |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        over = "" if row.over_entropy is None else f"{row.over_entropy:.1%}"
        lines.append(
            f"| {row.weights:,} | {row.codec} | {row.size_bytes:,} | {row.bits_per_weight:.3f} | "
            f"x{row.times_fewer:.0f} | {row.relative_error:.4f} | {row.encode_s * 1e3:.2f} ms | "
            f"{row.decode_s * 1e3:.2f} ms | {over} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="5994,28938,10000000")
    parser.add_argument("--codecs", default=",".join(NAMES))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--memory", type=int, default=10_000_000, help="weights; 0: not measured")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    rows = []
    for size in (int(text) for text in args.sizes.split(",")):
        rng = np.random.default_rng(1)
        vector = rng.standard_normal(size) * np.exp(rng.standard_normal(size)) * 1e-3
        rows += [measure(name, vector.astype(np.float32), args.repeat) for name in args.codecs.split(",")]
    machine = f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, one core"
    text = f"{table(rows)}\n{machine}; best of {args.repeat}.\n"
    used = memory(args.codecs.split(","), args.memory) if args.memory else []
    if used:
        text += f"\n{memory_table(used)}\n{args.memory:,} weights.\n"
    sys.stdout.write(text)
    if args.markdown:
        args.markdown.write_text(text)
    if args.json:
        result = {"machine": machine, "repeat": args.repeat, "rows": [asdict(row) for row in rows]}
        result["memory"] = {"weights": args.memory, "rows": [asdict(row) for row in used]}
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
