"""Payload bytes to a target accuracy: compressed updates in both directions against dense fp32 FedAvg.

In one process, without a network: ten nodes train a small convolutional network on their part of MNIST with
equal local steps; every update and every aggregate goes through the real codecs with error feedback and its
bytes are counted (payload, up + down, a node).  A target counts as reached at the first of three evaluations
in a row at or above it.

    python bench/bytes_to_accuracy.py --data MNIST.npz --splits iid,dirichlet:0.1,classes:2 --seeds 1,2,3
    python bench/bytes_to_accuracy.py --data MNIST.npz --flagship --rounds 208 --every 2

Dense FedAvg is tuned on a learning-rate grid of its own; the target is what the best of it reaches in all
rounds less half a point.  Dense bytes are 4 a weight; "packed" is with the lossless stage that our own dense
codec has.  A flagship run asks for 95 % within 15 kB a node and 97 % within 30 kB.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from muster.algorithms.splits import split
from muster.compression import Codec, parse
from muster.compression.feedback import norm
from muster.compression.model import EncodedUpdate, encode_with_feedback
from muster.compression.tensors import Layout, TensorSpec
from muster.planning.codecs import Message, SentMessage, choose

HELD = 3  # evaluations in a row at or above the target
DENSE_RATES = (0.02, 0.05, 0.1, 0.2)
FLAGSHIP = {0.95: 15_000, 0.97: 30_000}
WEIGHTS = {"cnn6k": 5_994, "cnn29k": 28_938}


@dataclass(frozen=True)
class Setting:
    """One way to train. `up` and `down` may change: "stc:0.02@0,stc:0.01@40" switches after 40 rounds."""

    up: str = "dense32"
    down: str = "dense32"
    lr: float = 0.05
    steps: int = 20
    batch: int = 16
    momentum: float = 0.0
    server_lr: float = 1.0
    server_momentum: float = 0.0  # heavy ball: this share of the last commit's change, as jobs have it
    closing: int = 1  # judged is the mean of so many last commits, with which a job closes: it costs no bytes
    balance: float = 0.0  # logit adjustment by the node's own label frequencies (balanced softmax)
    goodput_bytes_s: float = 1_600  # what "auto" is told: each of ten nodes has its share of one 128 kbit/s
    compute_s: float = 1.5  # link, and a round computes for so long
    lr_end: float = 1.0  # the rate falls along a cosine to this fraction at the last round


FLAGSHIP_SETTING = Setting(up="stc:0.01", down="stc:0.01", lr=0.1, steps=100, server_momentum=0.5, closing=16)


@dataclass(frozen=True)
class Point:
    round: int
    bytes: float  # a node, up + down
    accuracy: float


class Data:
    """MNIST as tensors; `parts` are the nodes' indices."""

    def __init__(self, path: Path, spec: str, nodes: int, seed: int) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in ("x_train", "y_train", "x_test", "y_test")}
        self.x, self.y = _images(arrays["x_train"]), _labels(arrays["y_train"])
        self.x_test, self.y_test = _images(arrays["x_test"]), _labels(arrays["y_test"])
        self.parts = [torch.from_numpy(part) for part in split(arrays["y_train"], spec, nodes, seed)]
        self.weights = np.array([len(part) for part in self.parts], float) / len(self.y)


class Flat:
    """A network whose parameters and gradients are views of one vector each. Filters lie channels last, which
    is a third faster on one core."""

    def __init__(self, kind: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.net = network(kind)
        named = list(self.net.parameters())
        self.vector = torch.cat([_channels_last(p.detach()).reshape(-1) for p in named])
        self.grad = torch.zeros_like(self.vector)
        offset = 0
        for p in named:
            p.data = _first(self.vector[offset : offset + p.numel()].view(_channels_last(p).shape))
            p.grad = _first(self.grad[offset : offset + p.numel()].view(_channels_last(p).shape))
            offset += p.numel()


def _channels_last(p: torch.Tensor) -> torch.Tensor:
    return p.permute(0, 2, 3, 1) if p.ndim == 4 else p


def _first(p: torch.Tensor) -> torch.Tensor:
    return p.permute(0, 3, 1, 2) if p.ndim == 4 else p


def network(kind: str) -> nn.Module:
    """cnn6k: 5,994 parameters; cnn29k: 28,938 (science.md, section 11).

    Pooling before the ReLU is the same function and less work."""
    first, second, padding, side = {"cnn6k": (8, 16, 0, 4), "cnn29k": (16, 32, 2, 7)}[kind]
    return nn.Sequential(
        nn.Conv2d(1, first, 5, padding=padding), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(first, second, 5, padding=padding), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(second * side * side, 10),
    )  # fmt: skip


def curve(kind: str, data: Data, how: Setting, rounds: int, seed: int, every: int = 1) -> Iterator[Point]:
    """Train and yield one point an evaluation. Everything follows from the arguments."""
    flat = Flat(kind, seed)
    size = flat.vector.numel()
    layout = Layout((TensorSpec("w", (size,), "float32"),))
    model = flat.vector.numpy().copy()
    last: deque[np.ndarray[Any, np.dtype[np.float32]]] = deque(maxlen=how.closing)
    rngs = [np.random.default_rng([seed, node]) for node in range(len(data.parts))]
    priors = [_prior(data.y[part], how.balance) for part in data.parts]
    up_left = [np.zeros(size, np.float32) for _ in data.parts]
    down_left, previous = np.zeros(size, np.float32), model
    up_sent: list[list[SentMessage]] = [[] for _ in data.parts]
    down_sent: list[SentMessage] = []
    spent = 0.0
    for number in range(rounds):
        rate = how.lr * (how.lr_end + (1 - how.lr_end) * (1 + np.cos(np.pi * number / rounds)) / 2)
        total, up_bytes = np.zeros(size, np.float64), 0
        for node, part in enumerate(data.parts):
            delta = local(flat, model, data, part, priors[node], replace(how, lr=rate), rngs[node])
            up = _codec(_at(how.up, number), size, how, up_sent[node])
            sent = encode_with_feedback(up, layout, {"w": delta}, up_left[node], [seed, number, node])
            up_left[node] = sent.residual
            up_sent[node].append(_sample(up, sent, delta))
            up_bytes += len(sent.message)
            total += data.weights[node] * sent.decoded["w"]
        change = (how.server_lr * total + how.server_momentum * (model - previous)).astype(np.float32)
        down = _codec(_at(how.down, number), size, how, down_sent)
        back = encode_with_feedback(down, layout, {"w": change}, down_left, [seed, number, 9999])
        down_left = back.residual
        down_sent.append(_sample(down, back, change))
        previous, model = model, model + back.decoded["w"]
        last.append(model)
        spent += up_bytes / len(data.parts) + len(back.message)
        if (number + 1) % every == 0:
            yield Point(number + 1, spent, accuracy(flat, np.mean(last, axis=0), data))


def local(
    flat: Flat,
    start: np.ndarray[Any, np.dtype[np.float32]],
    data: Data,
    part: torch.Tensor,
    prior: torch.Tensor,
    how: Setting,
    rng: np.random.Generator,
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """`how.steps` steps of SGD from `start` on the node's part; the difference."""
    flat.vector.copy_(torch.from_numpy(start))
    velocity = torch.zeros_like(flat.vector)
    for _ in range(how.steps):
        chosen = part[torch.from_numpy(rng.integers(0, len(part), how.batch))]
        flat.grad.zero_()
        functional.cross_entropy(flat.net(data.x[chosen]) + prior, data.y[chosen]).backward()
        if how.momentum:
            velocity.mul_(how.momentum).add_(flat.grad)
            flat.vector.add_(velocity, alpha=-how.lr)
        else:
            flat.vector.add_(flat.grad, alpha=-how.lr)
    return flat.vector.numpy() - start


@torch.no_grad()
def accuracy(flat: Flat, model: np.ndarray[Any, np.dtype[np.float32]], data: Data) -> float:
    flat.vector.copy_(torch.from_numpy(model))
    parts = zip(data.x_test.split(500), data.y_test.split(500), strict=True)
    return sum(int((flat.net(x).argmax(1) == y).sum()) for x, y in parts) / len(data.y_test)


def reached(points: list[Point], target: float) -> Point | None:
    """The first of HELD evaluations in a row at or above the target."""
    for i in range(len(points) - HELD + 1):
        if all(p.accuracy >= target for p in points[i : i + HELD]):
            return points[i]
    return None


def held_best(points: list[Point]) -> float:
    """The highest accuracy that HELD evaluations in a row had."""
    return max(min(p.accuracy for p in points[i : i + HELD]) for i in range(len(points) - HELD + 1))


def _prior(labels: torch.Tensor, strength: float) -> torch.Tensor:
    """strength * log of the smoothed label frequencies, added to the logits while training only (Menon et al.
    2021, arXiv 2007.07314; under label skew FedLC, Zhang et al. 2022, arXiv 2209.00189)."""
    counts = torch.bincount(labels, minlength=10).double()
    return (strength * torch.log((counts + 1e-3 * len(labels)) / (1.01 * len(labels)))).float()


def _codec(name: str, size: int, how: Setting, last: list[SentMessage]) -> Codec:
    if name != "auto":
        return parse(name)
    return parse(choose(Message(size), how.goodput_bytes_s, how.compute_s, last).codec)


def _sample(codec: Codec, sent: EncodedUpdate, delta: np.ndarray[Any, np.dtype[np.float32]]) -> SentMessage:
    return SentMessage(codec.name, norm(sent.residual) / (norm(delta) or 1.0))


def _at(schedule: str, number: int) -> str:
    name = schedule
    for part in schedule.split(","):
        name_here, _, since = part.partition("@")
        if number >= int(since or 0):
            name = name_here
    return name


def _labels(y: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(y.astype(np.int64))


def _images(x: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    images = torch.from_numpy(((x[:, None].astype(np.float32) / 255) - 0.1307) / 0.3081)
    return images.to(memory_format=torch.channels_last)


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


def parse_settings(texts: list[str], base: Setting) -> list[Setting]:
    """JSON objects with fields of Setting, on top of the common ones."""
    return [replace(base, **json.loads(text)) for text in texts]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="MNIST as .npz")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--codec-rounds", type=int, help="rounds for the codecs, if other than for dense")
    parser.add_argument("--seeds", default="1,2,3", type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument("--splits", default="iid,dirichlet:0.1,classes:2")
    parser.add_argument("--model", default="cnn29k", choices=("cnn6k", "cnn29k"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--every", type=int, default=1, help="rounds between evaluations")
    parser.add_argument("--below", type=float, default=0.005, help="the target under dense's best")
    parser.add_argument(
        "--dense-rates", default=DENSE_RATES, type=lambda text: [float(r) for r in text.split(",")]
    )
    parser.add_argument(
        "--tune-once", action="store_true", help="the grid on the first seed only; its winner for the others"
    )
    parser.add_argument(
        "--setting", action="append", default=[], help='JSON, e.g. {"up":"stc:0.02","lr":0.1}'
    )
    parser.add_argument("--flagship", action="store_true")
    parser.add_argument("--log", type=Path, help="JSON lines of finished runs, read and extended")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.nice(10)
    args.base = Setting(steps=args.steps, batch=args.batch)
    log = Log(args.log)
    if args.flagship:
        chosen = parse_settings(args.setting, args.base) or [replace(FLAGSHIP_SETTING, batch=args.batch)]
        result = flagship(log, args, chosen)
        text = flagship_table(result)
    else:
        chosen = parse_settings(args.setting, args.base) or [
            replace(args.base, up="auto", down="auto", lr=0.1)
        ]
        result = compare(log, args, chosen)
        text = compare_table(result)
    sys.stdout.write(text)
    if args.markdown:
        args.markdown.write_text(text)
    if args.json:
        args.json.write_text(
            json.dumps({**result, "rounds": args.rounds, "seeds": args.seeds}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
