"""Payload bytes to a target accuracy: compressed updates in both directions against dense fp32 FedAvg.

In one process, without a network: ten nodes train a small convolutional network on their part of MNIST with
equal local steps; every update and every aggregate goes through the real codecs with error feedback and its
bytes are counted (payload, up + down, a node).  A target counts as reached at the first of three evaluations
in a row at or above it.

    python bench/learning/bytes_to_accuracy.py --data MNIST.npz --splits iid,dirichlet:0.1 --seeds 1,2,3
    python bench/learning/bytes_to_accuracy.py --data MNIST.npz --flagship --rounds 208 --every 2

Dense FedAvg is tuned on a learning-rate grid of its own; the target is what the best of it reaches in all
rounds less half a point.  Dense bytes are 4 a weight; "packed" is with the lossless stage that our own dense
codec has.  A flagship run asks for 95 % within 15 kB a node and 97 % within 30 kB.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from bytes_runs import Log, compare, compare_table, flagship, flagship_table
from bytes_training import DENSE_RATES, FLAGSHIP_SETTING, Setting


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
